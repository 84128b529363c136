"""What the commands ``export`` and ``build-engine`` have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alpamayo_ros.model.config import AlpamayoConfig
    from alpamayo_ros.model.expert.graph import GraphSpec


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that decide the graph."""
    parser.add_argument('checkpoint', type=Path, help='directory of the checkpoint')
    parser.add_argument('--candidates', type=_count, default=32, help='trajectories of a plan')
    parser.add_argument('--mode', choices=('single', 'multi'), default='single',
                        help='one reasoning for all candidates, or one for each')
    parser.add_argument('--max-prefix', type=_count, default=6144, metavar='TOKENS',
                        help='longest prompt; six cameras with four frames make 4,500 to 5,500')
    parser.add_argument('--max-tail', type=_count, default=256, metavar='TOKENS',
                        help='longest reasoning (max_generation_length of the planner)')
    parser.add_argument('--precision', choices=('float16', 'bfloat16', 'float32'),
                        default='float16',
                        help='of weights, activations and the cache: the dtype of the planner')
    parser.add_argument('--output', type=Path, metavar='DIR',
                        help='where to write; by default engines/ and the name of the checkpoint')


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{value} is below 1')
    return value


def output(args: argparse.Namespace) -> Path:
    """Where to write."""
    return args.output or Path('engines') / args.checkpoint.resolve().name


def spec_of(args: argparse.Namespace, config: AlpamayoConfig) -> GraphSpec:
    """The graph that the arguments describe."""
    from alpamayo_ros.model.expert.graph import GraphSpec
    multi = args.mode == 'multi'
    return GraphSpec.of(
        config, precision=args.precision, groups=args.candidates if multi else 1,
        samples=1 if multi else args.candidates, max_prefix=args.max_prefix, tail=args.max_tail)


def describe(spec: GraphSpec) -> str:
    """Inputs and outputs as lines; layers alike in one line."""
    lines = ['inputs:']
    for port in spec.inputs():
        name, _, layer = port.name.rpartition('_')
        if name.endswith(('_k', '_v')):
            if int(layer):
                continue
            last = f' to {name}_{spec.layers - 1}' if spec.layers > 1 else ''
            lines.append(f'  {port.name}{last}{str(port)[len(port.name):]}')
        else:
            lines.append(f'  {port}')
    lines += ['outputs:', *(f'  {port}' for port in spec.outputs())]
    lines.append(f'prefix: tokens of the prompt, 1 to {spec.max_prefix}')
    return '\n'.join(lines)
