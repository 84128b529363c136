"""``alpamayo replay``: a recorded drive through the planner, with figures about every plan."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

HELP = 'plan along a recorded drive (rosbag2) without a running ROS, and measure the plans'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``replay`` takes."""
    parser.add_argument('bag', type=Path, help='rosbag2 directory, or a .db3 or .mcap file')
    parser.add_argument('--out', type=Path, default=Path('out/replay'),
                        help='folder of the run; a run with the same settings goes on there')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace whatever run the folder holds')
    model = parser.add_argument_group('model and parameters')
    model.add_argument('--checkpoint', type=Path, help='checkpoint directory')
    model.add_argument('--params-file', type=Path, metavar='FILE',
                       help='parameter file of the node, such as config/planner.yaml')
    model.add_argument('--param', action='append', default=[], metavar='NAME:=VALUE',
                       help='a parameter of the node, over the file; may be repeated')
    model.add_argument('--seed', type=int, help='the parameter seed')
    topics = parser.add_argument_group('topics')
    topics.add_argument('--remap', action='append', default=[], metavar='FROM:=TO',
                        help='the name in the bag of a topic of the node, such as '
                             '~/input/odometry:=/odom; may be repeated')
    topics.add_argument('--topics', type=Path, metavar='FILE',
                        help='the same as a YAML file of FROM: TO lines')
    topics.add_argument('--rig', type=Path, metavar='FILE',
                        help='where the cameras sit (as config/rig.yaml), where the bag does not '
                             'tell')
    instants = parser.add_argument_group('instants, in seconds from the beginning of the bag')
    which = instants.add_mutually_exclusive_group()
    which.add_argument('--every', type=float, default=0.5, metavar='SECONDS',
                       help='time between two plans')
    which.add_argument('--at', type=float, nargs='+', default=[], metavar='SECONDS',
                       help='plan at these times only')
    instants.add_argument('--from', dest='start', type=float, metavar='SECONDS',
                          help='begin here')
    instants.add_argument('--to', dest='stop', type=float, metavar='SECONDS', help='end here')


def run(args: argparse.Namespace) -> int:
    """Replay; 0 when complete, 1 when the bag is damaged, 2 for wrong use, 130 when interrupted."""
    from alpamayo_ros.replay.parameters import read_parameters
    from alpamayo_ros.replay.schedule import Schedule, ScheduleError
    from alpamayo_ros.replay.sources import read_remaps
    from alpamayo_ros.ros.parameter_table import ParameterError

    try:
        schedule = Schedule(args.every, tuple(args.at), args.start, args.stop)
        changes = {} if args.seed is None else {'seed': args.seed}
        if args.checkpoint is not None:
            changes['checkpoint'] = str(args.checkpoint)
        parameters, warnings = read_parameters(args.params_file, args.param, changes)
    except (ScheduleError, ParameterError) as error:
        print(f'alpamayo replay: {error}', file=sys.stderr)
        return 2
    for warning in warnings:
        print(f'alpamayo replay: {warning}', file=sys.stderr)
    remap = read_remaps(args.remap, args.topics)

    from alpamayo_ros.drive.environment import ends_on_signals
    from alpamayo_ros.replay.run import ReplayOptions, replay
    from alpamayo_ros.replay.table import table

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')
    stop = threading.Event()
    bar = _Bar()
    with ends_on_signals(stop), bar:
        result = replay(
            ReplayOptions(args.bag, args.out, parameters, schedule, remap, args.rig,
                          args.overwrite),
            stop=stop, say=bar.say, progress=bar)
    print(table(result.summary))
    print(f'\n{result.folder}: run.json, plans.jsonl, plans/, output/ (a rosbag2)')
    if result.problem:
        print(f'alpamayo replay: {result.problem}; what was done until then is kept',
              file=sys.stderr)
        return 1
    if result.status != 'complete':
        print('interrupted; the same command goes on from here', file=sys.stderr)
        return 130
    return 0


class _Bar:
    """A progress bar with the time left, on a terminal only."""

    def __init__(self) -> None:
        self._bar = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, initial=done, unit='plan', disable=None)
        self._bar.update(done - self._bar.n)

    def say(self, text: str) -> None:
        """Print a line without tearing the bar."""
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.write(text)
