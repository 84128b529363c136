"""``alpamayo export``: the denoising step of a checkpoint's expert as an ONNX graph."""

from __future__ import annotations

import argparse

from alpamayo_ros.cli import expert_arguments

HELP = "write a checkpoint's action expert as an ONNX graph"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    expert_arguments.add(parser)


def run(args: argparse.Namespace) -> int:
    """Export; nothing is done when the same graph is there already."""
    from alpamayo_ros.model.config import load_config
    from alpamayo_ros.model.expert.export import export_checkpoint
    config = load_config(args.checkpoint)
    spec = expert_arguments.spec_of(args, config)
    export_checkpoint(config, spec, expert_arguments.output(args), report=print)
    print(expert_arguments.describe(spec))
    return 0
