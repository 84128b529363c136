"""One measurement from options to report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from alpamayo_ros.bench import machine
from alpamayo_ros.bench.measure import Timing
from alpamayo_ros.bench.node_section import NoRosError, node_section, output_stages, prepare_ros
from alpamayo_ros.bench.report import Report
from alpamayo_ros.bench.stages import compare_cache, compare_reasoning, input_stages
from alpamayo_ros.bench.workbench import Options, Workbench
from alpamayo_ros.errors import AlpamayoError

CACHE_CANDIDATES = (1, 8)
"""Numbers of candidates the caches are compared for, besides that of a plan."""
_OUTPUT_REPEATS = 20


def measure_model(options: Options, report: Report, say: Callable[[str], None]) -> None:
    """Every stage and both comparisons, into ``report``."""
    say('loading')
    bench = Workbench(options)
    try:
        report.model = bench.describe()
        say('input stages')
        report.inputs = input_stages(bench)
        say('shared against copied cache')
        report.cache = compare_cache(bench, sorted({*CACHE_CANDIDATES, options.candidates}))
        say('plans with a single reasoning and with one a candidate')
        report.plans = compare_reasoning(bench)
        say('output stages')
        report.outputs = _outputs(bench, report)
    finally:
        bench.planner.close()


def _outputs(bench: Workbench, report: Report) -> dict[str, Timing]:
    try:
        prepare_ros()
    except NoRosError as error:
        report.notes.append(f'Messages and publishing were not measured: {error}')
        return {}
    return output_stages(report.plans['single'].plan, bench.observation, _OUTPUT_REPEATS)


def measure_node(report: Report, seconds: float, cores: int, image_size: tuple[int, int],
                 say: Callable[[str], None]) -> None:
    """The node's own share, into ``report``; what was measured before is kept when it fails."""
    say('the node under load')
    try:
        prepare_ros()
    except NoRosError as error:
        report.notes.append(f"The node's share was not measured: {error}")
        return
    try:
        report.node = node_section(seconds, cores, image_size)
    except AlpamayoError as error:
        report.failed = True
        report.notes.append(f"The node's share could not be measured: {error}")
        return
    if len(os.sched_getaffinity(0)) <= report.node.cores:
        report.notes.append('The load was sent from the same cores.')


def measure(options: Options, name: str, sections: Sequence[str], *, node_seconds: float,
            node_cores: int, say: Callable[[str], None]) -> Report:
    """Run the sections (``model``, ``node``) of a measurement of the checkpoint called ``name``.

    ``say`` hears what is going on.
    """
    from alpamayo_ros.model.checkpoint import parse_device
    device = parse_device(options.device)
    if options.threads is not None:
        import torch
        torch.set_num_threads(options.threads)
    report = Report(machine.describe(device), name)
    if 'model' in sections:
        measure_model(options, report, say)
    if 'node' in sections:
        measure_node(report, node_seconds, node_cores, options.image_size, say)
    return report
