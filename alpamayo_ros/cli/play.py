"""``alpamayo play``: publish a recorded drive over DDS."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = 'publish a rosbag2 (sqlite3 or mcap) over DDS with its timing and /clock'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``play`` takes."""
    parser.add_argument('bag', type=Path, help='rosbag2 directory')
    parser.add_argument('--rate', type=float, default=1.0, help='times real time')
    parser.add_argument('--start-offset', type=float, default=0.0, metavar='SECONDS',
                        help='leave out that much of the beginning')
    parser.add_argument('--loop', action='store_true',
                        help='over and over; the clock jumps back each time')
    parser.add_argument('--topics', nargs='+', metavar='TOPIC', help='only these topics')
    parser.add_argument('--remap', nargs='+', metavar='FROM:=TO', default=[],
                        help='publish a recorded topic under another name')
    parser.add_argument('--no-clock', dest='clock', action='store_false',
                        help='do not publish /clock')
    parser.add_argument('--wait-for-subscribers', type=float, default=0.0, metavar='SECONDS',
                        help='wait that long at most until every topic has a subscriber')
    parser.add_argument('--delay', type=float, default=1.0, metavar='SECONDS',
                        help='time for discovery before the first message')


def run(args: argparse.Namespace) -> int:
    """Play; 0 at the end or when interrupted, 2 for values that cannot be."""
    from alpamayo_ros.drive.environment import use_fastdds_profile

    use_fastdds_profile()
    from alpamayo_ros.drive.player import PlayOptions, play_bag

    try:
        options = PlayOptions(
            rate=args.rate, start_offset_s=args.start_offset, loop=args.loop,
            topics=tuple(args.topics) if args.topics else None, remap=parse_remaps(args.remap),
            clock=args.clock)
        for name in ('wait_for_subscribers', 'delay'):
            if not 0.0 <= getattr(args, name) <= 3600.0:
                raise ValueError(f'{name} is {getattr(args, name)}; expected 0 to 3600 s')
    except ValueError as error:
        print(f'alpamayo play: {error}', file=sys.stderr)
        return 2
    result = play_bag(args.bag, options, wait_s=args.wait_for_subscribers, delay_s=args.delay,
                      say=lambda text: print(text, flush=True))
    print(f'{result.published} messages published'
          + (f' in {result.passes} passes' if result.passes > 1 else '')
          + (', interrupted' if result.stopped else ''))
    if result.damaged:
        print(f'alpamayo play: {result.damaged} messages were too short to be any and left out',
              file=sys.stderr)
    if result.late_s > 0.1:
        print(f'alpamayo play: up to {result.late_s:.2f} s behind time; this machine cannot keep '
              f'rate {args.rate:g}', file=sys.stderr)
    return 0


def parse_remaps(rules: list[str]) -> dict[str, str]:
    """Turn ``FROM:=TO`` rules into a mapping of absolute names; ``ValueError``."""
    remap = {}
    for rule in rules:
        source, separator, target = rule.partition(':=')
        if not (separator and source and target):
            raise ValueError(f"remap '{rule}' is not a rule; expected FROM:=TO")
        remap['/' + source.lstrip('/')] = '/' + target.lstrip('/')
    return remap
