"""The report of a replay: one HTML file with everything inside it."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from alpamayo_ros import __version__
from alpamayo_ros.calibration import Rig, cameras_of_run
from alpamayo_ros.colors import IMPLAUSIBLE, SELECTED
from alpamayo_ros.replay.folder import RunError
from alpamayo_ros.report.drawing import hexadecimal, rank_colours
from alpamayo_ros.report.metric_names import Metric, describe, headline
from alpamayo_ros.report.plan_view import (
    PlanView,
    Surroundings,
    decimals_for,
    number,
    plan_view,
)
from alpamayo_ros.report.run_folder import PlanRecord, Run
from alpamayo_ros.report.selection import choose
from alpamayo_ros.report.summary import (
    latency_chart,
    medians,
    refusal_chart,
    refusals,
    statistics,
    tiles,
    time_charts,
    what_was_run,
)
from alpamayo_ros.rig import FOOTPRINT_M

_TEMPLATES = 'alpamayo_ros.report.templates'
_DETAILS = ('hardware', 'versions', 'parameters', 'bag_start_ns', 'bag_end_ns', 'remap', 'summary')


@dataclass(frozen=True)
class PageOptions:
    """``most_plans``: plans shown at most; ``thumbnail_px``: greatest width of a picture, px."""

    most_plans: int = 100
    thumbnail_px: int = 400


def render_report(run: Run, rig: Rig | None, options: PageOptions = PageOptions(),
                  progress: Callable[[float], None] = lambda share: None) -> str:
    """Return the page. ``rig``: where cameras sit that the run itself says nothing about.

    ``progress`` is called with the share done, 0 to 1. ``RunError`` or ``CalibrationError`` for
    what cannot be read.
    """
    plans = run.plans
    selection = choose(plans, options.most_plans)
    around = surroundings(run, rig, options.thumbnail_px)
    place_of = {record.t0_ns: place for place, record in enumerate(run.instants)}
    views: list[PlanView] = []
    for done, index in enumerate(selection.indices):
        record = plans[index]
        views.append(plan_view(record, place_of[record.t0_ns], f'plan-{index + 1}', around))
        progress((done + 1) / len(selection.indices))
    refused = refusals(run.instants)
    metrics = [describe(name) for name in run.counts()]
    columns = [describe(name) for name in headline(run.counts())]
    streams = (run.info.get('counts') or {}).get('streams') or {}
    head = {key: value for key, value in run.info.items() if key not in _DETAILS}
    return render(
        'report.html', title=f'Replay of {bag_name(run)}', run=run, rule=selection.rule,
        what=what_was_run(head),
        details=what_was_run({key: run.info[key] for key in _DETAILS if run.info.get(key)}),
        streams=streams, problems=[row for row in streams.values() if row['problem']],
        tiles=tiles(run), time_charts=time_charts(run), latency=latency_chart(run),
        refused=refused, refused_chart=refusal_chart(refused), statistics=statistics(run),
        plans=views, metrics=metrics, columns=columns,
        decimals={metric.name: decimals_for(run.values(metric.name).tolist())
                  for metric in columns},
        calibrated=sorted(around.cameras), data=_data(views, metrics))


def surroundings(run: Run, rig: Rig | None, thumbnail_px: int) -> Surroundings:
    """Return what all plans of ``run`` are drawn with."""
    calibration = run.info.get('calibration') or {}
    if not isinstance(calibration, Mapping):
        raise RunError(f"'{run.path / 'run.json'}': calibration is {calibration!r}; expected one "
                       'entry a camera')
    return Surroundings(
        cameras=cameras_of_run(calibration, rig), footprint=rig.footprint if rig else FOOTPRINT_M,
        dt_s=run.dt_s, medians=medians(run), thumbnail_px=thumbnail_px)


def bag_name(run: Run) -> str:
    """Return what a person calls the recorded drive."""
    bag = run.info.get('bag')
    if isinstance(bag, Mapping):
        bag = bag.get('name') or bag.get('path')
    return Path(str(bag)).name if bag else run.name


def render(template: str, **values: Any) -> str:
    """Return a page made from a template of this package; every value is escaped in it."""
    environment = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True)
    environment.filters['number'] = number
    script = _source('page.js')
    digest = base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')
    return environment.get_template(template).render(
        style=_source('page.css'), script=script, script_digest=digest,
        ranks=rank_colours(), selected=hexadecimal(SELECTED), bad=hexadecimal(IMPLAUSIBLE),
        version=__version__, **values)


def write_page(text: str, out: Path) -> None:
    """Write a page to ``out``, the whole of it or nothing; ``RunError`` if it cannot be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f'.{out.name}.')
        try:
            with os.fdopen(handle, 'w', encoding='utf-8') as file:
                file.write(text)
            os.chmod(name, 0o644)
            os.replace(name, out)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise RunError(f"the page '{out}' cannot be written: {error}") from error


@cache
def _source(name: str) -> str:
    return resources.files(_TEMPLATES).joinpath(name).read_text(encoding='utf-8')


def _data(views: list[PlanView], metrics: list[Metric]) -> dict[str, Any]:
    """What the page's script knows of the plans."""
    def entry(view: PlanView) -> dict[str, Any]:
        record: PlanRecord = view.record
        return {'anchor': view.anchor, 'number': view.number, 'seconds': round(record.seconds, 3),
                'status': record.status,
                'figures': {name: round(value, 6) for name, value in record.figures.items()}}

    return {'plans': [entry(view) for view in views],
            'metrics': {metric.name: {'title': metric.title, 'worse': metric.worse}
                        for metric in metrics}}
