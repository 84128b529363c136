"""``alpamayo make-drive``: write the small six-camera drive the demo plays."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = 'write a six-camera drive of the driving world (rosbag2) to play to the node'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``make-drive`` takes."""
    parser.add_argument('out', type=Path, help='directory to make')
    parser.add_argument('--seconds', type=float, default=34.0, help='length of the drive')
    parser.add_argument('--seed', type=int, default=5, help='of the tour and of time jitter')
    parser.add_argument('--width', type=int, default=400, help='of the images, pixels')
    parser.add_argument('--height', type=int, default=240, help='of the images, pixels')
    parser.add_argument('--quality', type=int, default=55, help='of the JPEGs, 1 to 100')


def run(args: argparse.Namespace) -> int:
    """Write the drive; 2 for values out of range."""
    from alpamayo_ros.drive.make import DriveSettings, make_drive

    try:
        settings = DriveSettings(args.seconds, args.seed, args.width, args.height, args.quality)
    except ValueError as error:
        print(f'alpamayo make-drive: {error}', file=sys.stderr)
        return 2
    shown = -1

    def progress(share: float) -> None:
        nonlocal shown
        if int(share * 10) > shown:
            shown = int(share * 10)
            print(f'\r{shown * 10:3d} %', end='', flush=True, file=sys.stderr)

    count = make_drive(args.out, settings, progress)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    print(f'\r{args.out}: {count} messages, {size / 1e6:.1f} MB', file=sys.stderr)
    return 0
