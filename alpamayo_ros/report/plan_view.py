"""One plan made ready for a page: thumbnails with overlays, the scene from above, text, figures."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from alpamayo_ros.calibration import CameraModel
from alpamayo_ros.drive.picture import printable
from alpamayo_ros.metrics.summary import reason_kind
from alpamayo_ros.report.above import SceneAbove, scene_above
from alpamayo_ros.report.drawing import Ground, Shape, view_shapes
from alpamayo_ros.report.metric_names import describe
from alpamayo_ros.report.run_folder import PlanRecord

_PLACES = ('cross_left', 'front_wide', 'cross_right', 'rear_left', 'front_tele', 'rear_tele',
           'rear_right')
_QUALITY = 72
_MOST_REASONINGS = 8


@dataclass(frozen=True)
class Surroundings:
    """What all plans of a run are drawn with.

    ``cameras``: the calibrated ones. ``footprint``: rear x, front x, half width, m. ``dt_s``:
    between waypoints. ``medians``: of each figure over the drive. ``thumbnail_px``: the greatest
    width of a picture.
    """

    cameras: Mapping[str, CameraModel]
    footprint: tuple[float, float, float]
    dt_s: float
    medians: Mapping[str, float]
    thumbnail_px: int


@dataclass(frozen=True)
class View:
    """A camera's picture, ``uri`` empty when it cannot be read, and what is drawn over it."""

    label: str
    uri: str
    width: int
    height: int
    shapes: Sequence[Shape]
    calibrated: bool


@dataclass(frozen=True)
class Figure:
    """One figure of a plan and its median over the drive, as text."""

    label: str
    value: str
    median: str
    unit: str


@dataclass(frozen=True)
class PlanView:
    """Everything a page shows of one plan; ``reasonings`` and ``reasons`` with how often each."""

    anchor: str
    number: int
    record: PlanRecord
    views: Sequence[View]
    above: SceneAbove
    reasonings: Sequence[tuple[str, int]]
    more_reasonings: int
    reasons: Sequence[tuple[str, int]]
    figures: Sequence[Figure]
    count: int
    plausible: int


def number(value: float | None, decimals: int | None = None) -> str:
    """Return a figure as text: three digits that count unless told how many decimals."""
    if value is None or not np.isfinite(value):
        return '–'
    if decimals is None:
        decimals = decimals_for([value])
    if abs(value) >= 1e6:
        return f'{value:.2e}'
    text = f'{value:.{decimals}f}'
    return text.replace('-', '\u2212') if float(text) else text.lstrip('-')


def decimals_for(values: Sequence[float]) -> int:
    """Return how many decimals a column of figures needs."""
    sizes = np.abs([value for value in values if np.isfinite(value)] or [0.0])
    size = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 0.0
    return 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3


def plan_view(record: PlanRecord, index: int, anchor: str, around: Surroundings,
              beside: PlanRecord | None = None) -> PlanView:
    """Return one plan made ready; ``index``: its place among all instants, from 0.

    ``beside``: the plan next to which it is shown, at the same scale.
    """
    arrays = record.arrays()
    order = {name: place for place, name in enumerate(_PLACES)}
    ground = Ground.of(arrays, around.footprint[2])
    views = []
    for name in sorted(arrays.views, key=lambda name: (order.get(name, len(order)), name)):
        picture = _thumbnail(arrays.views[name], around.thumbnail_px)
        camera = around.cameras.get(name)
        shapes: list[Shape] = []
        if picture and camera:
            shapes = view_shapes(ground, camera.resized(*picture[1:]))
        uri, width, height = picture or ('', 16, 9)
        views.append(View(name.replace('_', ' '), uri, width, height, shapes, camera is not None))
    texts = Counter(map(printable, record.reasoning)).most_common()
    # The best candidate's comes first, however rare it is.
    if record.reasoning:
        best = printable(record.reasoning[0])
        texts.sort(key=lambda item: item[0] != best)
    return PlanView(
        anchor=anchor, number=index + 1, record=record, views=views,
        above=scene_above(arrays, around.footprint, around.dt_s,
                          beside.arrays(views=False) if beside else None),
        reasonings=texts[:_MOST_REASONINGS], more_reasonings=max(0, len(texts) - _MOST_REASONINGS),
        reasons=_alike(filter(None, map(printable, record.reasons))),
        figures=_figures(record, around.medians), count=len(arrays.candidates),
        plausible=int(arrays.plausible.sum()))


def _alike(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Return the first of the reasons that differ in their numbers alone, with their number."""
    groups: dict[str, list[str]] = {}
    for reason in reasons:
        groups.setdefault(reason_kind(reason), []).append(reason)
    return sorted(((group[0], len(group)) for group in groups.values()), key=lambda row: -row[1])


def _figures(record: PlanRecord, medians: Mapping[str, float]) -> list[Figure]:
    rows = []
    for name, value in record.figures.items():
        metric = describe(name)
        median = medians.get(name, float('nan'))
        decimals = decimals_for([value, median])
        rows.append(Figure(metric.label, number(value, decimals), number(median, decimals),
                           metric.unit))
    return rows


def _thumbnail(jpeg: bytes, widest: int) -> tuple[str, int, int] | None:
    """Return a picture as data URI with its size, px; None for one that cannot be read."""
    try:
        image = Image.open(io.BytesIO(jpeg))
        image.load()
    except (OSError, ValueError, SyntaxError):
        return None
    if image.width > widest or image.format != 'JPEG':
        share = min(1.0, widest / image.width)
        image = image.convert('RGB').resize(
            (round(image.width * share), max(1, round(image.height * share))),
            Image.Resampling.LANCZOS)
        out = io.BytesIO()
        image.save(out, 'JPEG', quality=_QUALITY, optimize=True)
        jpeg = out.getvalue()
    return ('data:image/jpeg;base64,' + base64.b64encode(jpeg).decode('ascii'),
            image.width, image.height)
