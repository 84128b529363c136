"""A finished evaluation beside one that was reported: do two draws give the same figures?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpamayo_ros.evaluation.figures import FIGURES
from alpamayo_ros.evaluation.intervals import Estimate, difference
from alpamayo_ros.evaluation.report import Report, cell, markdown, numbers, which

_ALIKE = ('candidates', 'num_inference_steps', 'max_tokens', 'min_pixels', 'max_pixels')
"""Arguments with which figures change, whichever scenes are drawn."""


class Reported:
    """What ``--output`` of an evaluation wrote. ``ValueError`` for what is no such file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            self.arguments: dict[str, Any] = content['arguments']
            self.checkpoint: dict[str, Any] = content['checkpoint']
            self.figures = {key: _estimate(entry) for key, entry in content['all'].items()
                            if key in FIGURES and entry['value'] is not None}
            self.seed, self.scenes = self.arguments['seed'], self.arguments['scenes']
            self.validation = self.arguments['validation']
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"'{path}' holds no figures of an evaluation ({type(error).__name__}: "
                             f'{error}); expected what its --output writes') from error

    def check(self, arguments: Mapping[str, Any]) -> None:
        """``ValueError`` where ``arguments``, as ``Report.as_dict`` has them, are of the same draw,
        or of something else, so that figures differ for other reasons than the draw."""
        if all(self.arguments.get(name) == arguments[name] for name in ('seed', 'validation')):
            raise ValueError(f"seed is {self.seed}, as in '{self.path}'; expected another one, "
                             'whose scenes are others')
        kinds = self.arguments.get('kinds', [])
        if sorted(kinds) != sorted(arguments['kinds']):
            raise ValueError(f'kinds are {", ".join(arguments["kinds"])}; expected '
                             f"{', '.join(kinds)}, as in '{self.path}'")
        for name in _ALIKE:
            if self.arguments.get(name) != arguments[name]:
                raise ValueError(f'{name} is {arguments[name]}; expected '
                                 f"{self.arguments.get(name)}, as in '{self.path}'")


def differences(report: Report, reported: Reported) -> dict[str, tuple[Estimate, bool]]:
    """By figure that both have: this draw less the reported one, with the 95 % interval of the
    difference, and whether that holds zero."""
    found = {}
    for key, ours in report.total.items():
        if ours.count and key in reported.figures:
            less = difference(ours, reported.figures[key])
            found[key] = less, less.low <= 0 <= less.high
    return found


def as_dict(report: Report, reported: Reported) -> dict[str, Any]:
    """For JSON."""
    return {'file': reported.path.name, 'checkpoint': reported.checkpoint, 'seed': reported.seed,
            'validation': reported.validation, 'scenes': reported.scenes,
            'figures': {key: {**numbers(less), 'within': within}
                        for key, (less, within) in differences(report, reported).items()}}


def table(report: Report, reported: Reported) -> str:
    """For people, in Markdown."""
    found = differences(report, reported)
    rows = [[FIGURES[key].label, cell(FIGURES[key], report.total[key]),
             cell(FIGURES[key], reported.figures[key]),
             cell(FIGURES[key], less).replace('%', 'points'),
             'within' if within else 'apart']
            for key, (less, within) in found.items()]
    apart = sum(not within for _, within in found.values())
    scenes = f'{reported.scenes} {which(reported.validation)} scenes'
    lines = [f'Against {reported.path.name}: {scenes} of seed {reported.seed}',
             markdown(['figure', 'this draw', 'reported', 'difference', ''], rows),
             f'{apart} of {len(found)} figures apart: the 95 % interval of the difference does not '
             'hold zero. By chance one in twenty is.']
    ours = report.results.checkpoint.get('fingerprint')
    if ours != reported.checkpoint.get('fingerprint'):
        lines.insert(1, f'Another checkpoint: {reported.checkpoint.get("name")}, fingerprint '
                        f'{str(reported.checkpoint.get("fingerprint"))[:16]}.')
    return '\n\n'.join(lines)


def _estimate(entry: Mapping[str, Any]) -> Estimate:
    return Estimate(float(entry['value']), float(entry['low']), float(entry['high']),
                    int(entry['scenes']))
