"""``alpamayo compare``: two runs of one drive against each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = 'compare two runs that `alpamayo replay` wrote of the same drive'
WORSE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``compare`` takes."""
    parser.add_argument('run_a', type=Path, metavar='RUN_A', help='the run to compare with')
    parser.add_argument('run_b', type=Path, metavar='RUN_B', help='the run that is judged')
    parser.add_argument('--out', type=Path, help='the page; without it compare.html in RUN_B')
    parser.add_argument('--thresholds', type=Path, metavar='FILE',
                        help='how much worse B may be (YAML or JSON, see config/thresholds.yaml); '
                        f'the exit code is {WORSE} when it is worse than that')
    parser.add_argument('--min-common', type=int, default=5, metavar='N',
                        help='instants that both runs must have planned at, at least')
    parser.add_argument('--plans', type=int, default=12,
                        help='pairs of plans shown side by side: those whose selected paths '
                        'differ most')
    parser.add_argument('--rig', type=Path,
                        help='where the cameras sit, such as config/rig.yaml, for what the runs '
                        'themselves do not know')
    parser.add_argument('--seed', type=int, default=0, help='of the bootstrap')


def run(args: argparse.Namespace) -> int:
    """Compare; 0: within the thresholds, 1: cannot be compared, 2: wrong use, 3: worse."""
    for name, value, least in (('min-common', args.min_common, 2), ('plans', args.plans, 0),
                               ('seed', args.seed, 0)):
        if value < least:
            print(f'alpamayo compare: {name} is {value}; expected {least} or more',
                  file=sys.stderr)
            return 2
    from alpamayo_ros.calibration import load_rig
    from alpamayo_ros.compare.page import render_comparison
    from alpamayo_ros.compare.pairing import pair_runs
    from alpamayo_ros.compare.statistics import compare_figures
    from alpamayo_ros.compare.table import table
    from alpamayo_ros.compare.thresholds import judge, load_thresholds
    from alpamayo_ros.report.page import write_page
    from alpamayo_ros.report.run_folder import load_run

    thresholds = load_thresholds(args.thresholds) if args.thresholds else ()
    rig = load_rig(args.rig) if args.rig else None
    pairs = pair_runs(load_run(args.run_a), load_run(args.run_b), args.min_common)
    differences = compare_figures(pairs, args.seed)
    verdicts = judge(differences, thresholds)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')
    print(table(pairs, differences, verdicts))
    out = args.out or args.run_b / 'compare.html'
    write_page(render_comparison(pairs, differences, verdicts, rig, args.plans, args.seed), out)
    print(f'\n{out}')
    return WORSE if any(not verdict.kept for verdict in verdicts) else 0
