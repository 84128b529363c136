"""``alpamayo verify``: are the numbers those of the released model?"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from alpamayo_ros.bench.geometry import GEOMETRIES
from alpamayo_ros.verification.result import Check, table

HELP = 'compare every stage with recorded results of the released implementation'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('directory', type=Path, nargs='?',
                        help='directory with recorded results, such as test/data/golden')
    parser.add_argument('--device', default='cpu', help="'cpu', 'cuda' or 'cuda:N' (default: cpu)")
    parser.add_argument('--backends', nargs='*', choices=('torch', 'onnxruntime', 'tensorrt'),
                        default=['torch', 'onnxruntime'],
                        help='backends of the action expert to compare with torch in float32; '
                        'none after the option leaves this out')
    parser.add_argument('--fp16-range', action='store_true',
                        help='check that the expert stays within float16 with random weights '
                        'scaled like trained ones; the directory may be left out')
    parser.add_argument('--geometry', choices=tuple(GEOMETRIES), default='r1-10b',
                        help='sizes for --fp16-range (default: r1-10b, the released model)')
    parser.add_argument('--strict', action='store_true',
                        help='let the tolerance alone decide, also where rounding moves a '
                        'recorded result by more (docs/numerics.md)')
    parser.add_argument('--json', type=Path, help='write the table to this file as JSON too')


def run(args: argparse.Namespace) -> int:
    """Exit status 0: all within tolerance; 1: something is not; 2: nothing could be compared."""
    checks: list[Check] | None = [] if args.directory is None else _recorded(args)
    if checks is None:
        return 2
    if args.fp16_range:
        from alpamayo_ros.verification.fp16_range import check_fp16_range
        checks += check_fp16_range(GEOMETRIES[args.geometry], args.geometry,
                                   report=lambda line: print(line, file=sys.stderr))
    elif args.directory is None:
        print('alpamayo verify: no directory is given; expected one with recorded results, or '
              '--fp16-range', file=sys.stderr)
        return 2
    return _conclude(checks, args)


def _recorded(args: argparse.Namespace) -> list[Check] | None:
    """Compare with what is recorded; None where nothing could be compared, which was said."""
    from alpamayo_ros.model.checkpoint import parse_device
    from alpamayo_ros.verification.cases import find_checkpoints, find_units
    from alpamayo_ros.verification.model_checks import verify_checkpoint
    from alpamayo_ros.verification.unit_checks import verify_units
    try:
        parse_device(args.device)
    except ValueError as error:
        print(f'alpamayo verify: {error}', file=sys.stderr)
        return None
    if not args.directory.is_dir():
        print(f"'{args.directory}' is no directory; expected one with recorded results")
        return None
    checkpoints, units = find_checkpoints(args.directory), find_units(args.directory)
    if not checkpoints and not units:
        print(f"'{args.directory}' holds no recorded results; expected directories with "
              'config.json and cases.json, or a units.safetensors')
        return None
    checks = [check for path in checkpoints
              for check in verify_checkpoint(path, device=args.device)]
    checks += [check for path in units for check in verify_units(path)]
    if args.backends:
        from alpamayo_ros.verification.backend_checks import verify_backends
        checks += [check for path in checkpoints for check in verify_backends(
            path, args.backends, device=args.device,
            report=lambda line: print(line, file=sys.stderr))]
    return checks


def _conclude(checks: list[Check], args: argparse.Namespace) -> int:
    """The table, and the exit status that follows from it."""
    import torch
    print(table(checks, strict=args.strict))

    def passed(check: Check) -> bool:
        return check.within if args.strict else check.passed

    failed = [check for check in checks if not passed(check)]
    undecided = [check for check in checks if check.decided_by_note]
    print(f'\n{len(checks) - len(failed)} of {len(checks)} checks passed, torch '
          f'{torch.__version__}, {args.device}')
    if undecided:
        print(f'{len(undecided)} are beyond the tolerance but within what float32 rounding alone '
              'does to these cases: see the notes, and docs/numerics.md')
    if args.json:
        rows = [{**asdict(check), 'passed': passed(check)} for check in checks]
        args.json.write_text(json.dumps({'torch': torch.__version__, 'device': args.device,
                                         'checks': rows}, indent=1) + '\n')
    return 1 if failed else 0
