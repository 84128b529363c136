"""A finished evaluation as tables for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from alpamayo_ros.evaluation.figures import FIGURES, Figure
from alpamayo_ros.evaluation.intervals import Estimate
from alpamayo_ros.evaluation.run import Options, Results, SceneResult
from alpamayo_ros.evaluation.variants import ABLATIONS, VARIANTS

PER_KIND = {'cause': 'cause', 'agrees': 'agree', 'ade_6.4': 'ADE 6.4 s',
            'min_ade_6.4': 'minADE 6.4 s', 'velocity_6.4': 'const. velocity',
            'turn_6.4': 'const. turn', 'planned': 'plausible'}
"""Figures every kind has, and what the table's columns call them."""
LOOKS = ('cause', 'ade_6.4', 'min_ade_6.4', 'red_stays', 'green_goes', 'agrees', 'way', 'way_ahead',
         'planned')
MODES = ('pairwise', 'spread', 'min_ade_6.4', 'min_ade_nearest_6.4', 'ade_6.4', 'futures',
         'futures_rarer', 'futures_between', 'cause', 'agrees', 'planned')
SHOWN = {'guided': ('way', 'way_ahead', 'ade_6.4', 'min_ade_6.4', 'planned'), 'multi': MODES,
         **dict.fromkeys(ABLATIONS, LOOKS)}
"""What is set beside the plain plans of the same scenes."""


def estimate(key: str, results: Sequence[SceneResult], variant: str = 'plain') -> Estimate:
    """A figure of one way of planning over those scenes that were planned in it."""
    return FIGURES[key].estimate(result.judged[variant].figures.get(key)
                                 for result in results if variant in result.judged)


def asked(options: Options) -> dict[str, Any]:
    """The arguments on which figures depend, for JSON; steps and pixels are None where they are
    the checkpoint's own."""
    return {'seed': options.seed, 'validation': options.validation, 'per_kind': options.per_kind,
            'kinds': list(options.kinds), 'ablations': options.ablations, 'modes': options.modes,
            'guidance': options.guidance, 'device': options.device, 'dtype': options.dtype,
            'candidates': options.settings.num_candidates,
            'num_inference_steps': options.settings.num_inference_steps,
            'max_tokens': options.settings.max_generation_length,
            'min_pixels': options.settings.min_pixels, 'max_pixels': options.settings.max_pixels}


def which(validation: bool) -> str:
    """What scenes are called."""
    return 'validation' if validation else 'test'


class Report:
    """The results of ``options``, summed up. ``head``: machine, versions, date of the start."""

    def __init__(self, options: Options, results: Results) -> None:
        self.options, self.results = options, results
        self.head = results.head | {'torch_threads': options.threads, 'workers': options.workers}
        self.scenes = results.scenes
        self.total = {key: estimate(key, self.scenes) for key in FIGURES}
        self.kinds = {kind: [scene for scene in self.scenes if scene.scene_id.kind == kind]
                      for kind in options.kinds}

    def changed(self, name: str) -> tuple[list[SceneResult], dict[str, tuple[Estimate, Estimate]]]:
        """Scenes planned in the way ``name``, and figures of them: plain, and in that way."""
        chosen = [scene for scene in self.scenes if name in scene.judged]
        return chosen, {key: (estimate(key, chosen), estimate(key, chosen, name))
                        for key in SHOWN[name]}

    def milliseconds(self, name: str, scenes: Sequence[SceneResult]) -> float | None:
        """Median time of a plan, all stages of the model."""
        times = [scene.judged[name].milliseconds for scene in scenes if name in scene.judged]
        return float(np.median(times)) if times else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON. What is not finite is null."""
        result: dict[str, Any] = {
            **self.head, 'checkpoint': self.results.checkpoint,
            'arguments': {'scenes': len(self.scenes), **asked(self.options)},
            'all': {key: _goal(FIGURES[key], value) for key, value in self.total.items()},
            'kinds': {kind: {key: numbers(value) for key in FIGURES
                             if (value := estimate(key, scenes)).count}
                      for kind, scenes in self.kinds.items()},
            'changed': {}, 'seconds': round(self.results.seconds, 1)}
        for name in SHOWN:
            chosen, pairs = self.changed(name)
            if chosen:
                result['changed'][name] = {
                    'label': VARIANTS[name].label, 'scenes': len(chosen),
                    'figures': {key: {'plain': numbers(plain), name: numbers(other)}
                                for key, (plain, other) in pairs.items()},
                    'milliseconds_a_plan': {which: self.milliseconds(which, chosen)
                                            for which in ('plain', name)}}
        return result

    def details(self) -> list[dict[str, Any]]:
        """One entry a scene and way of planning: its text and every figure, for whoever wants to
        look into a failure."""
        return [{'kind': scene.scene_id.kind, 'seed': scene.scene_id.seed, 'variant': name,
                 'reasoning': judged.text,
                 **{key: _finite(value) for key, value in judged.figures.items()
                    if value is not None}}
                for scene in self.scenes for name, judged in scene.judged.items()]

    def table(self) -> str:
        """For people, in Markdown."""
        blocks = [self._head(), self._goals(), self._kinds()]
        for name in SHOWN:
            chosen, pairs = self.changed(name)
            if chosen:
                blocks.append(self._changed(name, chosen, pairs))
        return '\n\n'.join(blocks)

    def _head(self) -> str:
        options, machine, about = self.options, self.head['machine'], self.results.checkpoint
        fingerprint = (about['fingerprint'] or 'none')[:16]
        plan_ms = self.milliseconds('plain', self.scenes) or math.nan
        return (f'{self.head["date"]}  {machine["cpu"]}, {machine["cores"]} cores, torch '
                f'{self.head["versions"]["torch"]}\n'
                f'checkpoint {about["name"]} ({about["model_type"]}, fingerprint {fingerprint})\n'
                f'{len(self.scenes)} {which(options.validation)} scenes of seed {options.seed}, '
                f'{options.per_kind} of each of {len(options.kinds)} kinds; '
                f'{options.settings.num_candidates} candidates; {self.results.seconds:.0f} s in '
                f'all, {plan_ms:.0f} ms a plan in the median\n'
                'In brackets: 95 % confidence intervals.')

    def _goals(self) -> str:
        rows = []
        for key, figure in FIGURES.items():
            value = self.total[key]
            if not value.count:
                continue
            reached = figure.reached(value)
            rows.append([figure.label, cell(figure, value), str(value.count), _aim(figure),
                         '' if reached is None else 'reached' if reached else 'missed'])
        return 'All kinds\n\n' + markdown(['figure', 'value', 'scenes', 'goal', ''], rows)

    def _kinds(self) -> str:
        rows = [[kind, str(len(scenes)),
                 *(cell(FIGURES[key], estimate(key, scenes)) for key in PER_KIND)]
                for kind, scenes in (*self.kinds.items(), ('all', self.scenes))]
        return ('Kind by kind; rates in %, displacements in m\n\n'
                + markdown(['kind', 'scenes', *PER_KIND.values()], rows))

    def _changed(self, name: str, chosen: Sequence[SceneResult],
                 pairs: dict[str, tuple[Estimate, Estimate]]) -> str:
        rows = [[FIGURES[key].label.strip(), cell(FIGURES[key], plain),
                 cell(FIGURES[key], other), _counts(plain, other)]
                for key, (plain, other) in pairs.items() if plain.count or other.count]
        times = [self.milliseconds(which, chosen) for which in ('plain', name)]
        rows.append(['time of a plan, median', *(f'{value:.0f} ms' for value in times),
                     str(len(chosen))])
        label = VARIANTS[name].label
        return (f'{label[0].upper()}{label[1:]}, on the same {len(chosen)} scenes\n\n'
                + markdown(['figure', 'plain', label, 'scenes'], rows))


def _counts(*values: Estimate) -> str:
    """How many scenes a row is about: of each column where they differ."""
    return ', '.join(dict.fromkeys(str(value.count) for value in values))


def numbers(value: Estimate) -> dict[str, Any]:
    """An estimate for JSON."""
    return {'value': _finite(value.value), 'low': _finite(value.low),
            'high': _finite(value.high), 'scenes': value.count}


def _goal(figure: Figure, value: Estimate) -> dict[str, Any]:
    return {'label': figure.label.strip(), **numbers(value), 'goal': figure.goal,
            'reached': figure.reached(value)}


def _finite(value: float | bool | None) -> float | bool | None:
    if isinstance(value, bool) or value is None:
        return value
    return round(float(value), 6) if math.isfinite(value) else None


def _aim(figure: Figure) -> str:
    if figure.goal is None:
        return ''
    return f'≥ {100 * figure.goal:.0f} %' if figure.kind == 'rate' else (
        f'≤ {figure.goal:g} {figure.unit}')


def cell(figure: Figure, value: Estimate) -> str:
    """An estimate for people: a rate or a share in %, a mean in its unit."""
    if not value.count:
        return ''
    found = (value.value, value.low, value.high)
    if figure.kind == 'rate' or not figure.unit:
        return '{:.1f} [{:.1f}, {:.1f}] %'.format(*(100 * number for number in found))
    return '{:.2f} [{:.2f}, {:.2f}] {}'.format(*found, figure.unit)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose source can be read as well: columns aligned, numbers as they are."""
    table = [list(header), *map(list, rows)]
    widths = [max(3, *(len(row[index]) for row in table)) for index in range(len(header))]
    lines = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
             + ' |' for row in table]
    lines.insert(1, '|' + '|'.join('-' * (width + 2) for width in widths) + '|')
    return '\n'.join(lines)
