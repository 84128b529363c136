"""``alpamayo bench``: how long everything takes on this machine."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from alpamayo_ros.bench.geometry import GEOMETRIES

HELP = 'time every stage on this machine, with a synthetic checkpoint'
SECTIONS = ('model', 'released', 'node')


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition('x')
    if not (separator and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; expected HEIGHTxWIDTH")
    return int(height), int(width)


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no count; expected an integer above 0")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``bench`` takes."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--geometry', choices=tuple(GEOMETRIES), default='small',
                       help='sizes of the synthetic checkpoint')
    which.add_argument('--checkpoint', type=Path, metavar='DIR',
                       help='measure this checkpoint instead of a synthetic one')
    parser.add_argument('--keep', type=Path, metavar='DIR',
                        help='write the synthetic checkpoint to this new directory and keep it')
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, default=list(SECTIONS),
                        help='model: every stage with its floor, and caches and reasoning modes '
                        'compared; released: whole plans against the way of the released '
                        'implementation; node: its share of a plan')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16')
    parser.add_argument('--threads', type=_count, help="threads of torch; without it, torch's own")
    parser.add_argument('--candidates', type=_count, default=32, help='trajectories a plan')
    parser.add_argument('--tokens', type=_count, default=40,
                        help='tokens of a reasoning; a synthetic checkpoint writes all of them')
    parser.add_argument('--image-size', type=_size, default=(1080, 1920), metavar='HxW',
                        help='of a camera')
    parser.add_argument('--min-pixels', type=_count, help="after resizing; the checkpoint's own")
    parser.add_argument('--max-pixels', type=_count, help="after resizing; the checkpoint's own")
    parser.add_argument('--repeats', type=_count, default=3,
                        help='of whole plans and steps; short stages are repeated more often')
    parser.add_argument('--node-seconds', type=_count, default=10,
                        help='how long the node is under load')
    parser.add_argument('--node-cores', type=_count, default=2, help='cores the node may use')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results here too')


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0: done, 1: could not be done, 2: values that cannot be."""
    import torch

    from alpamayo_ros.bench.run import measure
    from alpamayo_ros.bench.synthetic import write_checkpoint
    from alpamayo_ros.bench.workbench import Options
    from alpamayo_ros.model.checkpoint import parse_dtype

    def say(text: str) -> None:
        print(f'... {text}', file=sys.stderr, flush=True)

    with ExitStack() as stack:
        try:
            dtype: torch.dtype = parse_dtype(args.dtype)
            checkpoint, name = args.checkpoint, str(args.checkpoint)
            if checkpoint is None:
                name = f"synthetic '{args.geometry}', random weights"
                if set(args.sections) & {'model', 'released'}:
                    say(f'writing a checkpoint of geometry {args.geometry}')
                    checkpoint = write_checkpoint(
                        GEOMETRIES[args.geometry], _folder(args, stack), dtype=dtype)
            options = Options(
                checkpoint=checkpoint, device=args.device, dtype=args.dtype,
                candidates=args.candidates, tokens=args.tokens, image_size=args.image_size,
                min_pixels=args.min_pixels, max_pixels=args.max_pixels, repeats=args.repeats,
                threads=args.threads)
            report = measure(options, name, args.sections, node_seconds=args.node_seconds,
                             node_cores=args.node_cores, say=say)
        except ValueError as error:
            print(f'alpamayo bench: {error}', file=sys.stderr)
            return 2
    print(report.table())
    if args.json:
        args.json.write_text(json.dumps(report.as_dict(), indent=1) + '\n', encoding='utf-8')
    return 1 if report.failed else 0


def _folder(args: argparse.Namespace, stack: ExitStack) -> Path:
    """Where the synthetic checkpoint goes."""
    if args.keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory()))
    if args.keep.exists():
        raise ValueError(f"--keep: '{args.keep}' exists already; expected a new directory "
                         '(or --checkpoint to measure what is there)')
    return args.keep
