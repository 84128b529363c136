"""``alpamayo report``: the run of a replay as one HTML page that opens offline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = 'make the HTML report of a run that `alpamayo replay` wrote'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``report`` takes."""
    parser.add_argument('folder', type=Path, metavar='RUN',
                        help='folder that `alpamayo replay` wrote')
    parser.add_argument('--out', type=Path, help='the page; without it report.html in the folder')
    parser.add_argument('--rig', type=Path,
                        help='where the cameras sit, such as config/rig.yaml, for what the run '
                        'itself does not know; paths are drawn into calibrated views')
    parser.add_argument('--max-plans', type=int, default=100,
                        help='plans shown at most: half of them the worst, the others evenly over '
                        'the drive; figures are about all')
    parser.add_argument('--thumbnail-width', type=int, default=400, metavar='PIXELS',
                        help='greatest width of a picture')


def run(args: argparse.Namespace) -> int:
    """Write the page; 2 for values that cannot be."""
    for name, value, least in (('max-plans', args.max_plans, 1),
                               ('thumbnail-width', args.thumbnail_width, 32)):
        if value < least:
            print(f'alpamayo report: {name} is {value}; expected {least} or more', file=sys.stderr)
            return 2
    from alpamayo_ros.calibration import load_rig
    from alpamayo_ros.report.page import PageOptions, render_report, write_page
    from alpamayo_ros.report.run_folder import load_run

    loaded = load_run(args.folder)
    rig = load_rig(args.rig) if args.rig else None
    out = args.out or args.folder / 'report.html'
    text = render_report(loaded, rig, PageOptions(args.max_plans, args.thumbnail_width))
    write_page(text, out)
    print(f'{out}: {len(loaded.plans)} plans of {len(loaded.instants)} instants, '
          f'{len(text.encode()) / 1e6:.1f} MB')
    return 0
