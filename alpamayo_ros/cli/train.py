"""``alpamayo train``: the nano checkpoint from nothing, on the rendered driving world."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alpamayo_ros.training.settings import TrainingSettings

HELP = 'train the nano checkpoint on the driving world'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('output', type=Path, metavar='CHECKPOINT',
                        help='directory of the checkpoint; a run that is there goes on')
    parser.add_argument('--start', type=Path, metavar='CHECKPOINT', default=None,
                        help='begin with the weights of this one, without the vision stage; '
                             'a seed of its own gives it other drives')
    parser.add_argument('--seed', type=int, default=1,
                        help='of weights, drives and batches; 0 to 9')
    parser.add_argument('--scale', type=float, default=1.0,
                        help='times the steps of every stage; below 1 for a quick look')
    parser.add_argument('--steps', nargs='+', type=_steps, default=[], metavar='STAGE=N',
                        help='other steps for some of the stages vision, glance, reasoning, expert')
    parser.add_argument('--twice', nargs='*', default=None, metavar='KIND',
                        help='kinds of drives to draw twice as often as the others; none after it: '
                             'all alike; left out: those learnt slowest')
    parser.add_argument('--workers', type=int, default=1, help='processes that render drives')
    parser.add_argument('--eager', action='store_true',
                        help='do not compile the passes: for quick looks, and where there is no '
                             'C++ compiler')
    parser.add_argument('--device', default='cpu', help='cpu or cuda (which has not been run yet)')
    parser.add_argument('--threads', type=int, default=0,
                        help='threads of the model; 0: one for each core')


def _steps(text: str) -> tuple[str, int]:
    stage, _, count = text.partition('=')
    if not count.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r}; expected a stage and its steps, as in '
                                         'glance=500')
    return stage, int(count)


def settings(args: argparse.Namespace) -> TrainingSettings:
    """The settings that the command's arguments ask for; ``ValueError`` for impossible ones."""
    from dataclasses import replace

    from alpamayo_ros.training.settings import TrainingSettings
    asked = replace(TrainingSettings(seed=args.seed), workers=args.workers,
                    compiled=not args.eager)
    if args.twice is not None:
        asked = replace(asked, twice=tuple(args.twice))
    return asked.scaled(args.scale).with_steps(dict(args.steps))


def run(args: argparse.Namespace) -> int:
    """Train; killed at any time, the same command goes on; 1: it failed, 2: wrong values."""
    import sys

    import torch

    from alpamayo_ros.model.checkpoint import parse_device
    from alpamayo_ros.training.train import train
    try:
        asked = settings(args)
        parse_device(args.device)
        if args.threads < 0:
            raise ValueError(f'threads are {args.threads}; expected 0 or more')
    except ValueError as error:
        print(f'alpamayo train: {error}', file=sys.stderr)
        return 2
    try:
        if args.threads:
            torch.set_num_threads(args.threads)
        train(args.output, asked, args.device, args.start)
    except (OSError, ValueError, RuntimeError, ArithmeticError) as error:
        print(f'alpamayo train: {error}', file=sys.stderr)
        return 1
    print(f'{args.output} holds the checkpoint; its settings, log and curves are in '
          f'{args.output / "training"}')
    return 0
