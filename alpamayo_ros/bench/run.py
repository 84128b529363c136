"""One measurement from options to report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from alpamayo_ros.bench import counts, machine
from alpamayo_ros.bench.measure import Timing
from alpamayo_ros.bench.node_section import NoRosError, node_section, output_stages, prepare_ros
from alpamayo_ros.bench.rates import measure_rates
from alpamayo_ros.bench.report import Report
from alpamayo_ros.bench.stages import (
    compare_cache,
    compare_reasoning,
    compare_released,
    input_stages,
)
from alpamayo_ros.bench.workbench import Options, Workbench
from alpamayo_ros.errors import AlpamayoError

CACHE_CANDIDATES = (1, 8)
"""Numbers of candidates the caches are compared for, besides that of a plan."""
_OUTPUT_REPEATS = 20


def measure_model(options: Options, report: Report, say: Callable[[str], None], *,
                  stages: bool = True, released: bool = True) -> None:
    """Every stage with its floor and two comparisons (``stages``), and whole plans against the
    released way (``released``), into ``report``."""
    say('loading')
    bench = Workbench(options)
    try:
        report.model = bench.describe()
        if stages:
            _measure_stages(bench, report, say)
        if released:
            say('whole plans against the way of the released implementation')
            report.released = compare_released(bench)
    finally:
        bench.planner.close()


def _measure_stages(bench: Workbench, report: Report, say: Callable[[str], None]) -> None:
    options, model = bench.options, bench.runtime.model
    say('what the machine can do')
    report.rates = measure_rates(model.device, model.dtype)
    report.work = counts.stages(
        bench.config, bench.grids, prompt=report.model['prompt_tokens'], tokens=options.tokens,
        candidates=options.candidates, steps=report.model['steps'], size=model.dtype.itemsize)
    say('input stages')
    report.inputs = input_stages(bench)
    say('shared against copied cache')
    report.cache = compare_cache(bench, sorted({*CACHE_CANDIDATES, options.candidates}))
    say('plans with a single reasoning and with one a candidate')
    report.plans = compare_reasoning(bench)
    say('output stages')
    report.outputs = _outputs(bench, report)


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
    """Run sections (``model``, ``released``, ``node``) of a measurement of the checkpoint called
    ``name``.

    ``say`` hears what is going on.
    """
    from alpamayo_ros.model.checkpoint import parse_device
    device = parse_device(options.device)
    if options.threads is not None:
        import torch
        torch.set_num_threads(options.threads)
    report = Report(machine.describe(device), name)
    if 'model' in sections or 'released' in sections:
        measure_model(options, report, say, stages='model' in sections,
                      released='released' in sections)
    if 'node' in sections:
        measure_node(report, node_seconds, node_cores, options.image_size, say)
    return report
