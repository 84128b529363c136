"""``alpamayo COMMAND``: the tools beside the node.

A command is a module with ``HELP``, ``add_arguments(parser)`` and ``run(args) -> int``. These
modules are light; whatever is heavy they import when they run, so that help comes at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from alpamayo_ros import __version__
from alpamayo_ros.errors import AlpamayoError

COMMANDS = {
    'demo': 'alpamayo_ros.cli.demo',
    'play': 'alpamayo_ros.cli.play',
    'make-drive': 'alpamayo_ros.cli.make_drive',
    'replay': 'alpamayo_ros.cli.replay',
    'verify': 'alpamayo_ros.cli.verify',
    'export': 'alpamayo_ros.cli.export',
    'build-engine': 'alpamayo_ros.cli.build_engine',
    'bench': 'alpamayo_ros.cli.bench',
    'report': 'alpamayo_ros.cli.report',
    'compare': 'alpamayo_ros.cli.compare',
    'evaluate': 'alpamayo_ros.cli.evaluate',
    'train': 'alpamayo_ros.cli.train',
}


def build_parser(names: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """Return the parser with the commands ``names``."""
    parser = argparse.ArgumentParser(
        prog='alpamayo', description='Tools of alpamayo_ros, the Alpamayo planner as a ROS 2 node.')
    parser.add_argument('--version', action='version', version=f'alpamayo_ros {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name in names:
        module = importlib.import_module(COMMANDS[name])
        command = commands.add_parser(
            name, help=module.HELP, description=module.HELP,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (1: it failed, 2: wrong use, 130: interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Only the wanted command is imported, so one tool cannot keep another from starting.
    wanted = arguments[0] if arguments and arguments[0] in COMMANDS else None
    args = build_parser((wanted,) if wanted else tuple(COMMANDS)).parse_args(arguments)
    try:
        return args.run(args)
    except AlpamayoError as error:
        print(f'alpamayo {args.command}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'alpamayo {args.command}: interrupted', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
