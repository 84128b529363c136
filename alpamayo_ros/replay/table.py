"""The summary of a run as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = {'_m': 'm', '_mps': 'm/s', '_mps2': 'm/s^2', '_mps3': 'm/s^3', '_radps': 'rad/s'}
_METRES = ('ade_', 'fde_', 'min_ade_', 'min_fde_')


def table(summary: Mapping[str, Any]) -> str:
    """Return the summary that ``metrics.summary.summarise`` made as lines."""
    counts = summary['counts']
    lines = [f'{counts["instants"]} instants: {counts["planned"]} planned, '
             f'{counts["implausible"]} implausible, {counts["refused"]} refused']
    for item in summary['refusals'][:8]:
        reason = item['reason'] if len(item['reason']) < 90 else item['reason'][:89] + '…'
        lines.append(f'  {item["count"]:4d} x {item["stream"]}: {reason}')
    rows = [(name, spread, unit(name)) for name, spread in summary['metrics'].items() if spread]
    if rows:
        lines += ['', _head('metric')]
        lines += [_row(name, spread, text) for name, spread, text in rows]
    latency = {name: spread for name, spread in summary['latency_ms'].items() if spread}
    if latency:
        lines += ['', _head('latency')]
        lines += [_row(name, spread, 'ms') for name, spread in latency.items()]
        lines.append(_row('input age', summary['input_age_ms'], 'ms'))
    return '\n'.join(lines)


def unit(name: str) -> str:
    """Return the unit of a figure by its name, empty for a share."""
    if name.startswith(_METRES):
        return 'm'
    return next((text for ending, text in _UNITS.items() if name.endswith(ending)), '')


def _head(title: str) -> str:
    return f'{title:24s}{"":7s}' + ''.join(
        f'{name:>10s}' for name in ('count', 'mean', 'median', 'p90', 'max'))


def _row(name: str, spread: Mapping[str, float], text: str) -> str:
    return f'{name:24s}{text:7s}{spread["count"]:10d}' + ''.join(
        f'{spread[key]:10.3f}' for key in ('mean', 'median', 'p90', 'max'))
