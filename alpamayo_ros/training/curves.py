"""The losses of a training run as a picture."""

from __future__ import annotations

import json
from pathlib import Path

_NOT_LOSSES = ('stage', 'step', 'rate', 'seconds')


def draw_curves(log: Path, picture: Path) -> None:
    """Draw every stage's losses over its steps, one panel a stage, into a PNG; none of an empty
    log."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    rows = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    if not rows:
        return
    names = list(dict.fromkeys(row['stage'] for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        stage = [row for row in rows if row['stage'] == name]
        steps = [row['step'] for row in stage]
        for value in (key for key in stage[0] if key not in _NOT_LOSSES):
            axes.plot(steps, [row[value] for row in stage], label=value, linewidth=1.2)
        axes.set_title(name, loc='left')
        axes.set_xlabel('step')
        axes.set_yscale('log')
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc='upper center', bbox_to_anchor=(0.5, -0.17), ncols=3)
    part = picture.with_name(picture.name + '.part')
    figure.savefig(part, dpi=110, format='png')
    part.replace(picture)
