"""``alpamayo demo``: the node, a recorded drive and what comes out of it, in one command."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

HELP = 'run the node on the recorded drive and show its plans'
_GOLDEN = ('test', 'data', 'golden')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``demo`` takes."""
    parser.add_argument('--checkpoint', type=Path,
                        help='checkpoint directory; without it nano, which comes with the package')
    parser.add_argument('--bag', type=Path,
                        help='rosbag2 directory; without it the drive of the package')
    parser.add_argument('--out', type=Path, default=Path('out/demo'),
                        help='directory for the recording, the pictures and the log')
    parser.add_argument('--rate', type=float, default=1.0,
                        help='times real time; below 1 on a machine that cannot keep up')
    parser.add_argument('--param', action='append', default=[], metavar='NAME:=VALUE',
                        help='a parameter of the node, such as device:=cuda; may be repeated')
    parser.add_argument('--start-timeout', type=float, default=180.0, metavar='SECONDS',
                        help='how long the node may take to load the checkpoint')


def run(args: argparse.Namespace) -> int:
    """Run the demo; 1 when no plan came, 2 for values that cannot be."""
    from alpamayo_ros.drive.environment import use_fastdds_profile, use_private_domain
    from alpamayo_ros.resources import share_path

    # A plan that took seconds, because two cores do everything here, is shown all the same.
    parameters: dict[str, object] = {'max_plan_age_s': 20.0}
    for rule in args.param:
        name, separator, value = rule.partition(':=')
        if not (separator and name and value):
            print(f"alpamayo demo: parameter '{rule}' is not a rule; expected NAME:=VALUE",
                  file=sys.stderr)
            return 2
        parameters[name] = value
    if not (math.isfinite(args.rate) and args.rate > 0):
        print(f'alpamayo demo: rate is {args.rate}; expected a number above 0', file=sys.stderr)
        return 2
    checkpoint = args.checkpoint or share_path('resource', 'nano')
    bag = args.bag or share_path('resource', 'demo_drive')

    # Before anything of ROS is loaded.
    use_private_domain()
    use_fastdds_profile()
    from alpamayo_ros.drive.demo import DemoOptions, run_demo

    random_weights = _is_golden(checkpoint)
    if random_weights:
        # The image size the tiny checkpoints were made for.
        parameters = {'min_pixels': 4096, 'max_pixels': 9216, **parameters}
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')
    return run_demo(
        DemoOptions(checkpoint, bag, args.out, args.rate, parameters, random_weights,
                    args.start_timeout),
        say=lambda text: print(text, flush=True))


def _is_golden(checkpoint: Path) -> bool:
    """Tell the random checkpoints of the test data from ones that were trained."""
    from alpamayo_ros.resources import ResourceError, share_path

    try:
        return share_path(*_GOLDEN).resolve() in checkpoint.resolve().parents
    except ResourceError:
        return False
