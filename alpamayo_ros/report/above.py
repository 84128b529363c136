"""The scene from above as SVG: history, true future, candidates by rank, the vehicle, a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.report.drawing import Shape, band, outline, ranked_shapes, svg_path
from alpamayo_ros.report.run_folder import PlanArrays

WIDTH, HEIGHT = 340, 500
_LEFT, _BOTTOM, _TOP = 42, 30, 8
# How much of the way is shown, m: few steps, so that the scale is steady while the slider moves.
_LENGTHS_M = (20, 30, 40, 60, 80, 100, 120, 150, 200, 250, 300, 400, 600)
_GRID_M = (1, 2, 5, 10, 20, 50, 100, 200)
_GRID_PX = 34.0


@dataclass(frozen=True)
class Tick:
    """A grid line at ``place`` px with what stands beside it, m."""

    place: float
    text: str


@dataclass(frozen=True)
class SceneAbove:
    """What the template draws: px in a picture of ``WIDTH`` by ``HEIGHT``.

    The vehicle heads up and its left is on the left. ``ahead`` and ``aside``: grid lines.
    ``dots``: each whole second of the selected path; ``steps``: the history's poses. ``bar_px`` is
    as long as ``bar_m``.
    """

    shapes: list[Shape]
    vehicle: str
    history: Shape
    dots: list[tuple[float, float, int]]
    steps: list[tuple[float, float]]
    ahead: list[Tick]
    aside: list[Tick]
    bar_px: float
    bar_m: int
    left: int = _LEFT
    top: int = _TOP
    right: int = WIDTH - 4
    bottom: int = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def scene_above(arrays: PlanArrays, footprint: tuple[float, float, float], dt_s: float,
                beside: PlanArrays | None = None) -> SceneAbove:
    """Lay out one plan.

    ``footprint``: rear x, front x, half width of the vehicle, m; ``dt_s``: between waypoints;
    ``beside``: a plan that is to be seen at the same scale.
    """
    rear, front, half = footprint
    wide, high = WIDTH - 4 - _LEFT, HEIGHT - _BOTTOM - _TOP
    seen = np.concatenate([_extent(arrays)] + ([_extent(beside)] if beside else []))
    seen = seen[np.isfinite(seen).all(axis=1) & (np.abs(seen) < _LENGTHS_M[-1]).all(axis=1)]
    seen = np.vstack([seen, [[rear, 0.0], [front, 0.0]]])
    back = float(seen[:, 0].min()) - 2.0
    needed = max(float(seen[:, 0].max()) + 2.0 - back,
                 2.0 * (float(np.abs(seen[:, 1]).max()) + 2.0) * high / wide)
    length = next((step for step in _LENGTHS_M if step >= needed), _LENGTHS_M[-1])
    scale = high / length
    # What is left over goes ahead of the vehicle.
    low = np.floor(back)

    def place(points: np.ndarray) -> np.ndarray:
        pixels = np.stack([_LEFT + wide / 2 - points[..., 1] * scale,
                           HEIGHT - _BOTTOM - (points[..., 0] - low) * scale], axis=-1)
        return np.clip(pixels, -4 * HEIGHT, 5 * HEIGHT)

    def lines_of(path: np.ndarray) -> list[np.ndarray]:
        return [place(np.vstack([np.zeros((1, 3)), path]))]

    shapes = ranked_shapes(arrays, lambda rank: lines_of(arrays.candidates[rank]))
    dots = []
    selected = arrays.selected
    if selected is not None:
        edges = outline(place(band(selected, half)))
        shapes.append(Shape(svg_path([edges], closed=True), 'band'))
    shapes.append(Shape(svg_path(lines_of(arrays.future)), 'truth'))
    if selected is not None:
        shapes.append(Shape(svg_path(lines_of(selected), tolerance=0.1), 'selected'))
        dots = [(*place(selected[index]).tolist(), second)
                for second in range(1, int(len(selected) * dt_s + 1e-6) + 1)
                if (index := round(second / dt_s) - 1) < len(selected)]
    car = np.array([[rear, half], [rear, -half], [front - 0.6, -half], [front, -0.55 * half],
                    [front, 0.55 * half], [front - 0.6, half]])
    grid = next((step for step in _GRID_M if step * scale >= _GRID_PX), _GRID_M[-1])
    return SceneAbove(
        shapes=[shape for shape in shapes if shape.d],
        vehicle=svg_path([place(car)], closed=True, tolerance=0.01),
        history=Shape(svg_path([place(arrays.history)], tolerance=0.1), 'history'),
        dots=[dot for dot in dots if np.isfinite(dot[:2]).all()],
        steps=place(arrays.history).tolist(),
        ahead=[Tick(HEIGHT - _BOTTOM - (x - low) * scale, _text(x))
               for x in np.arange(np.ceil(low / grid) * grid, low + length, grid)],
        aside=[Tick(_LEFT + wide / 2 - y * scale, _text(y))
               for y in _around(wide / 2 / scale, grid)],
        bar_px=grid * scale, bar_m=grid)


def _extent(arrays: PlanArrays) -> np.ndarray:
    """Every point (K, 2) m that should be seen: wild candidates do not decide the scale."""
    good = arrays.candidates[arrays.plausible] if arrays.plausible.any() else arrays.candidates
    return np.concatenate([good.reshape(-1, 3), arrays.future, arrays.history])[:, :2]


def _text(place: float) -> str:
    return f'{place + 0.0:g}'.replace('-', '\u2212')


def _around(reach: float, grid: int) -> np.ndarray:
    steps = int(reach // grid)
    return np.arange(-steps, steps + 1) * grid
