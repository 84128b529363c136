"""``alpamayo evaluate``: how well a checkpoint drives in the rendered driving world."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from alpamayo_ros.world.causes import KINDS

HELP = 'how well a checkpoint drives in the rendered driving world'
SCENES = 560
SUBSET = 10


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no count; expected an integer above 0")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is no seed; expected an integer from 0 up")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``evaluate`` takes."""
    parser.add_argument('checkpoint', type=Path, help='directory of the checkpoint')
    parser.add_argument('--scenes', type=_count, default=SCENES,
                        help='in all; rounded up to as many of each kind')
    parser.add_argument('--seed', type=_seed, default=0,
                        help='which scenes; every seed draws others')
    parser.add_argument('--validation', action='store_true',
                        help='draw from the scenes that choices are made on, not from those that '
                        'are reported')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, metavar='KIND',
                        help=f'only some of {", ".join(KINDS)}')
    parser.add_argument('--ablations', type=_count, nargs='?', const=SUBSET, metavar='N',
                        help='does it look, does it listen? N scenes of each kind again with grey '
                        "cameras, with another scene's images, without the instruction "
                        f'(N: {SUBSET})')
    parser.add_argument('--modes', type=_count, nargs='?', const=SUBSET, metavar='N',
                        help='N scenes of each kind again with one reasoning a candidate '
                        f'(N: {SUBSET})')
    parser.add_argument('--guidance', type=float, default=1.5,
                        help='weight of the navigation guidance where plans are made with it')
    parser.add_argument('--candidates', type=_count, default=32, help='trajectories a plan')
    parser.add_argument('--num-inference-steps', type=_count, metavar='N',
                        help="Euler steps of a plan; the checkpoint's own")
    parser.add_argument('--max-tokens', type=_count, default=256,
                        help='most tokens of a reasoning')
    parser.add_argument('--min-pixels', type=_count, help="after resizing; the checkpoint's own")
    parser.add_argument('--max-pixels', type=_count, help="after resizing; the checkpoint's own")
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--dtype', default='float32', help='float32, bfloat16 or float16')
    parser.add_argument('--workers', type=_count,
                        help='processes, each with a model of its own, that share out the cores as '
                        'torch threads; one a core on the CPU, a single one on a GPU')
    parser.add_argument('--output', type=Path, metavar='FILE', help='write the results as JSON')
    parser.add_argument('--against', type=Path, metavar='FILE',
                        help='say whether the figures are those of another draw, from the JSON '
                        'that --output wrote for it')
    parser.add_argument('--details', type=Path, metavar='FILE',
                        help='write every scene with its text and figures, a line of JSON each')
    parser.add_argument('--show', type=Path, metavar='DIR',
                        help='write pictures of some scenes of each kind into this folder')
    parser.add_argument('--show-per-kind', type=_count, default=2, metavar='N',
                        help='how many of each kind')


def _check_file(path: Path) -> None:
    """``ValueError`` for what cannot be written as a file."""
    place = path.absolute()
    if place.is_dir():
        raise ValueError(f"'{path}' is a folder; expected a file to write")
    if not place.parent.is_dir():
        raise ValueError(f"'{path}' cannot be written; expected a folder that exists")
    if not os.access(place if place.exists() else place.parent, os.W_OK):
        raise ValueError(f"'{path}' cannot be written; expected a place that may be")


def _check_folder(path: Path) -> None:
    """``ValueError`` for what is no folder, and cannot become one, to write into."""
    place = path.absolute()
    # The first that is there, since the others are made.
    place = next(folder for folder in (place, *place.parents) if folder.exists())
    if not place.is_dir():
        raise ValueError(f"'{path}' cannot be written into, as '{place}' is no folder; expected a "
                         'folder, or a new one')
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"'{path}' cannot be written into; expected a place where that may be")


def _check_pixels(args: argparse.Namespace) -> None:
    """``ValueError`` where only one bound is given and the checkpoint's own does not fit it."""
    from alpamayo_ros.model.config import load_config
    if args.min_pixels or args.max_pixels:
        config = load_config(args.checkpoint)
        least, most = args.min_pixels or config.min_pixels, args.max_pixels or config.max_pixels
        if least > most:
            raise ValueError(f'min_pixels is {least} and max_pixels {most} (without the argument '
                             "the checkpoint's own); expected no more least than most pixels")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; 0: done, whatever was reached; 1: could not be done; 2: wrong values."""
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    from torch import OutOfMemoryError

    from alpamayo_ros.evaluation import against
    from alpamayo_ros.evaluation.report import Report, asked
    from alpamayo_ros.evaluation.run import Options, bar, evaluate
    from alpamayo_ros.model.checkpoint import parse_device, parse_dtype
    from alpamayo_ros.settings import PlannerSettings
    kinds = tuple(args.kinds or KINDS)
    cores = len(os.sched_getaffinity(0))
    workers = args.workers or (cores if args.device == 'cpu' else 1)
    try:
        settings = PlannerSettings(
            num_candidates=args.candidates, num_inference_steps=args.num_inference_steps,
            max_generation_length=args.max_tokens,
            min_pixels=args.min_pixels, max_pixels=args.max_pixels)
        options = Options(
            checkpoint=args.checkpoint, per_kind=math.ceil(args.scenes / len(kinds)),
            seed=args.seed, validation=args.validation, kinds=kinds,
            ablations=args.ablations or 0, modes=args.modes or 0, guidance=args.guidance,
            settings=settings, device=args.device, dtype=args.dtype, workers=workers,
            threads=max(1, cores // workers), show=args.show,
            show_per_kind=args.show_per_kind)
        for path in filter(None, (args.output, args.details)):
            _check_file(path)
        if args.show:
            _check_folder(args.show)
        parse_device(args.device)
        parse_dtype(args.dtype)
        _check_pixels(args)
        reported = None
        if args.against:
            reported = against.Reported(args.against)
            reported.check(asked(options))
    except (OSError, ValueError) as error:
        print(f'alpamayo evaluate: {error}', file=sys.stderr)
        return 2
    try:
        report = Report(options, evaluate(options, progress=bar))
        print(report.table())
        result = report.as_dict()
        if reported:
            print('\n' + against.table(report, reported))
            result['against'] = against.as_dict(report, reported)
        if args.output:
            _write(args.output, [json.dumps(result, indent=1, allow_nan=False)])
        if args.details:
            _write(args.details, [json.dumps(entry, allow_nan=False) for entry in report.details()])
    except (OSError, ValueError, OutOfMemoryError) as error:
        print(f'alpamayo evaluate: {error}', file=sys.stderr)
        return 1
    return 0


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
