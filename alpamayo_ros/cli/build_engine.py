"""``alpamayo build-engine``: the expert of a checkpoint as a TensorRT engine for this machine."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType
from typing import NoReturn, TextIO

from alpamayo_ros.cli import expert_arguments

HELP = "build the TensorRT engine of a checkpoint's action expert"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    expert_arguments.add(parser)
    parser.add_argument('--flavour', choices=('auto', 'tensorrt', 'tensorrt-rtx'), default='auto',
                        help='tensorrt builds on the GPU that runs the engine; tensorrt-rtx '
                        'builds anywhere, for RTX GPUs')
    parser.add_argument('--workspace-mib', type=int, metavar='MIB',
                        help='limit on the memory an engine may work in (default: no limit)')


def run(args: argparse.Namespace) -> int:
    """Export and build; nothing is done when the same engine is there already."""
    from alpamayo_ros.model.config import load_config
    from alpamayo_ros.model.expert.build import build_engine
    from alpamayo_ros.model.expert.trt import find
    # Ended like an interrupt, so that nothing half-written is left.
    signal.signal(signal.SIGTERM, _terminate)
    config = load_config(args.checkpoint)
    spec = expert_arguments.spec_of(args, config)
    flavour = find(args.flavour, to_build=True)
    progress = ProgressLine(sys.stdout)

    def report(line: str) -> None:
        progress.clear()
        print(line, flush=True)

    workspace = None if args.workspace_mib is None else args.workspace_mib << 20
    build_engine(config, spec, expert_arguments.output(args), flavour=flavour, report=report,
                 progress=progress, workspace_bytes=workspace)
    print(expert_arguments.describe(spec))
    return 0


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


class ProgressLine:
    """One line that is written over on a terminal; in a file, a line for each new phase."""

    def __init__(self, stream: TextIO, period_s: float = 0.1) -> None:
        self._stream, self._period_s = stream, period_s
        self._terminal = stream.isatty()
        self._last_s = 0.0
        self._width = 0
        self._told: set[str] = set()

    def __call__(self, line: str) -> None:
        """Show how far it is, as often as a person can read it."""
        if not self._terminal:
            for phase in line.split(', '):
                name = phase.rpartition(' ')[0]
                if name not in self._told:
                    self._told.add(name)
                    print(f'  {name}', file=self._stream, flush=True)
            return
        now = time.monotonic()
        if now - self._last_s < self._period_s:
            return
        self._last_s = now
        shown = line[:100]
        self._stream.write('\r' + shown.ljust(self._width))
        self._stream.flush()
        self._width = len(shown)

    def clear(self) -> None:
        """Make room for an ordinary line."""
        if self._terminal and self._width:
            self._stream.write('\r' + ' ' * self._width + '\r')
            self._width = 0
