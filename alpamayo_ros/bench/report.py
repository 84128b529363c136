"""A finished measurement as a table for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from alpamayo_ros.bench.counts import Rates, Work
from alpamayo_ros.bench.measure import Timing
from alpamayo_ros.bench.node_section import GOAL_MS, NodeSection
from alpamayo_ros.bench.stages import (
    RELEASED_GOAL,
    CacheComparison,
    Planned,
    ReleasedComparison,
)

_WHOLE = 'whole plan'
_PARTS = ('vision', 'prefill', 'decode', 'expert loop')


@dataclass
class Report:
    """What was measured; sections that were left out are empty or None.

    ``head``: machine, versions, date; ``model``: sizes; ``work`` and ``rates``: what stages must
    do and what the machine can do, of which their floors are made; ``notes``: sentences about
    what could not be measured; ``failed``: one of them is an error, not merely the lack of ROS.
    """

    head: dict[str, Any]
    checkpoint: str
    model: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Timing] = field(default_factory=dict)
    plans: dict[str, Planned] = field(default_factory=dict)
    cache: list[CacheComparison] = field(default_factory=list)
    outputs: dict[str, Timing] = field(default_factory=dict)
    work: dict[str, Work] = field(default_factory=dict)
    rates: Rates | None = None
    released: ReleasedComparison | None = None
    node: NodeSection | None = None
    notes: list[str] = field(default_factory=list)
    failed: bool = False

    def stages(self) -> dict[str, tuple[Timing, str]]:
        """Every stage in order of execution, with what it was about; single reasoning."""
        result = {name: (timing, self._about(name)) for name, timing in self.inputs.items()}
        planned = self.plans.get('single')
        if planned is not None:
            for name, timing in planned.stages.items():
                if name == 'expert':
                    step = self._expert_step()
                    if step is not None:
                        result['expert step'] = (step, self._about('expert step'))
                    name = 'expert loop'
                result[name] = (timing, self._about(name))
                if name == 'decode':
                    result['decode, per token'] = (timing.divided(planned.tokens[0]), '')
            result[_WHOLE] = (planned.total, self._about(_WHOLE))
        result.update((name, (timing, self._about(name)))
                      for name, timing in self.outputs.items())
        return result

    def _expert_step(self) -> Timing | None:
        return next((row.shared for row in self.cache
                     if row.candidates == self.model['candidates']), None)

    def _about(self, stage: str) -> str:
        model = self.model
        images = len(model['cameras']) * model['frames_per_camera']
        height, width = model['image_size']
        rows, columns = model['resized_to']
        return {
            'decode JPEG': f'one image of {width} x {height}, {model["jpeg_bytes"] / 1e3:.0f} kB',
            'preprocess': f'one image, to {columns} x {rows} and patches',
            'new prompt': 'text and tokens; kept while the cameras stay the same',
            'prompt': 'ego history put in',
            'vision': f'{images} images',
            'prefill': f'{model["prompt_tokens"]} tokens',
            'decode': f'{self._tokens("single")} tokens',
            'expert step': f'{model["candidates"]} candidates of {model["waypoints"]} waypoints',
            'expert loop': f'{model["steps"]} steps',
            _WHOLE: 'from patches to ranked candidates',
            'message building': 'paths, markers, plan_info',
            'publishing': 'the same, every topic subscribed to',
        }.get(stage, '')

    def _tokens(self, mode: str) -> str:
        counts = sorted(set(self.plans[mode].tokens))
        return str(counts[0]) if len(counts) == 1 else f'{counts[0]} to {counts[-1]}'

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        result: dict[str, Any] = {**self.head, 'checkpoint': self.checkpoint}
        if self.model:
            result['model'] = self.model
        stages = self.stages()
        if stages:
            result['stages'] = {name: timing.as_dict() for name, (timing, _) in stages.items()}
        if self.rates is not None:
            result['floors'] = self._floors_as_dict(self.rates)
        if self.plans:
            result['reasoning'] = {name: plan.as_dict() for name, plan in self.plans.items()}
            result['reasoning']['multi_to_single_plan_time'] = round(self._ratio(), 3)
        if self.cache:
            result['cache'] = [row.as_dict() for row in self.cache]
        if self.released is not None:
            result['released'] = self.released.as_dict()
        if self.node is not None:
            result['node'] = self.node.as_dict()
        result['notes'] = self.notes
        return result

    def _floors_as_dict(self, rates: Rates) -> dict[str, Any]:
        timings = self.stages()
        floors = {}
        for name, (timing, _) in timings.items():
            floor = self._floor_ms(name)
            if floor is not None:
                counted = self.work.get(name)
                floors[name] = {**(asdict(counted) if counted else {}), 'floor_ms': round(floor, 4),
                                'median_to_floor': round(timing.median / floor, 3)}
        return {'copy_bytes_per_s': round(rates.bandwidth),
                'matrix_operations_per_s': round(rates.operations), 'stages': floors}

    def _floor(self, name: str, timing: Timing) -> list[str]:
        """Floor and how many times it the stage took, empty where it has none."""
        floor = self._floor_ms(name)
        return ['', ''] if floor is None else [_ms(floor), f'{timing.median / floor:.2f}']

    def _floor_ms(self, name: str) -> float | None:
        """Of a stage that was counted; of a whole plan the sum of its stages'."""
        if self.rates is None:
            return None
        if name == _WHOLE:
            return sum(self.work[part].floor_ms(self.rates) for part in _PARTS)
        return self.work[name].floor_ms(self.rates) if name in self.work else None

    def _ratio(self) -> float:
        return self.plans['multi'].total.median / self.plans['single'].total.median

    def table(self) -> str:
        """For people."""
        blocks = [self._head()]
        stages = self.stages()
        if stages:
            blocks.append(_columns(
                ['stage', 'median ms', 'p90 ms', 'repeats', 'floor ms', 'to floor', ''],
                [[name, _ms(timing.median), _ms(timing.p90), str(len(timing.milliseconds)),
                  *self._floor(name, timing), about] for name, (timing, about) in stages.items()]))
        if self.rates is not None:
            blocks.append(
                'Floors: the larger of bytes to move over the measured copy bandwidth, '
                f'{self.rates.bandwidth / 1e9:.1f} GB/s,\nand of operations over the measured '
                f'matrix rate, {self.rates.operations / 1e9:.0f} GFLOP/s')
        if self.plans:
            blocks.append('Single against multi-reasoning, whole plans in turns\n' + _columns(
                ['reasoning', 'median ms', 'p90 ms', 'decode ms', 'expert ms', 'to single', ''],
                [self._mode(name) for name in self.plans]))
        if self.cache:
            blocks.append('Shared cache against one copied for every candidate, steps in turns\n'
                          + _columns(
                ['candidates', 'shared ms', 'copied ms', 'copied/shared', 'copying ms',
                 'shared MB', 'copied MB', 'bytes ratio', 'largest difference'],
                [_cache_row(row) for row in self.cache]))
        if self.released is not None:
            blocks.append(_released_block(self.released))
        if self.node is not None:
            blocks.append(_node_block(self.node))
        return '\n\n'.join([*blocks, *self.notes])

    def _mode(self, name: str) -> list[str]:
        planned, single = self.plans[name], self.plans['single']
        return [name, _ms(planned.total.median), _ms(planned.total.p90),
                _ms(planned.stages['decode'].median), _ms(planned.stages['expert'].median),
                f'{planned.total.median / single.total.median:.2f}',
                f'{len(planned.tokens)} reasonings of {self._tokens(name)} tokens']

    def _head(self) -> str:
        machine, versions = self.head['machine'], self.head['versions']
        lines = [
            f'{self.head["date"]}  {machine["cpu"]}, {machine["cores"]} cores, '
            f'{machine["memory_gib"]} GiB' + (f', {machine["gpu"]}' if machine['gpu'] else ''),
            f'torch {versions["torch"]}, {self.head["torch_threads"]} threads; load average '
            f'before: {machine["load_average_before"]}']
        if self.model:
            model = self.model
            lines.append(
                f'checkpoint: {self.checkpoint}, {model["parameters"] / 1e6:.1f} M parameters, '
                f'{model["expert_parameters"] / 1e6:.1f} M of them in the expert; '
                f'{model["device"]}, {model["dtype"]}')
            lines.append(
                f'{len(model["cameras"])} cameras x {model["frames_per_camera"]} frames, '
                f'{model["candidates"]} candidates, {model["tokens"]} tokens of reasoning')
        return '\n'.join(lines)


def _ms(value: float) -> str:
    return f'{value:.3f}' if value < 1 else f'{value:.2f}' if value < 100 else f'{value:.1f}'


def _cache_row(row: CacheComparison) -> list[str]:
    return [str(row.candidates), _ms(row.shared.median), _ms(row.copied.median),
            f'{row.copied.median / row.shared.median:.2f}', _ms(row.copying.median),
            f'{row.shared_bytes / 1e6:.1f}', f'{row.copied_bytes / 1e6:.1f}',
            f'{row.copied_bytes / row.shared_bytes:.1f}', f'{row.largest_difference:.1e}']


def _released_block(compared: ReleasedComparison) -> str:
    rows = []
    for name, planned, peak in (('ours', compared.ours, compared.ours_bytes),
                                ('released way', compared.released, compared.released_bytes)):
        stages = [planned.stages[stage].median for stage in (
            'vision', 'prefill', 'decode', 'expert')]
        rows.append([name, _ms(planned.total.median), _ms(planned.total.p90), *map(_ms, stages),
                     '?' if peak is None else f'{peak / 2 ** 30:.2f}',
                     f'{planned.total.median / compared.ours.total.median:.2f}'])
    return '\n'.join([
        'Whole plans against the way of the released implementation, in turns, greedy reasoning',
        _columns(['', 'plan ms', 'p90 ms', 'vision ms', 'prefill ms', 'decode ms', 'expert ms',
                  'peak GiB', 'to ours'], rows),
        f'goal {RELEASED_GOAL:.0f} times: '
        f'{"kept" if compared.ratio >= RELEASED_GOAL else "MISSED"}; actions after one step differ '
        f'by {compared.largest_difference:.1e} at most'])


def _node_block(node: NodeSection) -> str:
    sent, received, stored = (sum(counts.values()) for counts in (
        node.sent, node.received, node.stored))
    rows = [["the node's share", _ms(node.share.median), _ms(node.share.p90),
             _ms(node.share.largest),
             f'goal {GOAL_MS:.0f} ms: {"kept" if node.within_goal else "MISSED"} by nine in ten'],
            ['the model', _ms(node.model.median), _ms(node.model.p90), _ms(node.model.largest),
             "geometry 'tiny' on one core; not what is measured here"]]
    rows += [[f'  {name}', _ms(timing.median), _ms(timing.p90), _ms(timing.largest), '']
             for name, timing in node.parts.items()]
    return '\n'.join([
        f'The node in its own process on {node.cores} cores: {len(node.sent)} JPEG cameras of '
        f'{node.image_size[1]} x {node.image_size[0]} at 10 Hz, odometry at 50 Hz, '
        f'{node.seconds:.0f} s',
        _columns(['', 'median ms', 'p90 ms', 'max ms', ''], rows),
        f'frames: {sent} sent, {received} arrived'
        + (' (all)' if node.all_arrived else f', {sent - received} LOST')
        + f', {stored} of them prepared in time; {len(node.share.milliseconds)} plans, '
        f'{node.waited} of them waited for the model; the load was at most {node.late_ms:.0f} ms '
        f'late; the node used {node.busy_cores:.2f} cores'])


def _columns(header: list[str], rows: list[list[str]]) -> str:
    """A table: first and last column to the left, numbers to the right."""
    table = [header, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(header))]
    lines = []
    for row in table:
        cells = [cell.ljust(width) if index == 0 or (index == len(row) - 1 and not header[-1])
                 else cell.rjust(width)
                 for index, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append('  '.join(cells).rstrip())
    lines.insert(1, '  '.join('-' * width for name, width in zip(header, widths, strict=True)
                              if name or width != widths[-1]))
    return '\n'.join(lines)
