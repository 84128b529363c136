"""Paths as SVG: simplified outlines, and what of them a calibrated camera sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from alpamayo_ros.calibration import CameraModel
from alpamayo_ros.colors import RGBA, candidate_color
from alpamayo_ros.report.run_folder import PlanArrays

SHADES = 16
"""Colours that the ranks are divided among."""

_STEP_M = 0.4
_LONGEST_M = 600.0


@dataclass(frozen=True)
class Shape:
    """One SVG path: its ``d`` attribute and its classes."""

    d: str
    css: str


def rank_colours() -> list[str]:
    """Return the ``SHADES`` colours of the ranks after the selected one, best first."""
    return [hexadecimal(candidate_color(rank, SHADES + 1, True)) for rank in range(1, SHADES + 1)]


def hexadecimal(colour: RGBA) -> str:
    """Return a colour as CSS writes it, without its opacity."""
    return '#' + ''.join(f'{round(255 * part):02x}' for part in colour[:3])


def shade(rank: int, count: int) -> int:
    """Return the shade, 0 to ``SHADES - 1``, of a rank from 1 (0 is the selected) to count - 1."""
    return min(SHADES - 1, (rank - 1) * SHADES // max(1, count - 1))


def svg_path(lines: Sequence[np.ndarray], *, closed: bool = False, tolerance: float = 0.3) -> str:
    """Return the ``d`` of lines, each (K, 2) px, with no more points than the eye needs."""
    parts = []
    for line in lines:
        line = line[np.isfinite(line).all(axis=1)]
        if len(line) < 2:
            continue
        fewer = cv2.approxPolyDP(line.astype(np.float32)[:, None], tolerance, closed)[:, 0]
        if len(fewer) < 2:
            fewer = line[[0, -1]]
        text = 'L'.join(f'{x:.1f} {y:.1f}' for x, y in fewer.tolist())
        parts.append(f'M{text}{"Z" if closed else ""}')
    return ''.join(parts).replace('.0 ', ' ').replace('.0L', 'L')


def dense(path: np.ndarray) -> np.ndarray:
    """Return ``path`` (T, 3) m from the vehicle on as (S, 3), with points close together."""
    points = np.vstack([np.zeros((1, 3)), path])
    points = points[np.isfinite(points).all(axis=1)]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    length = min(float(along[-1]), _LONGEST_M)
    if length < 1e-3:
        return points[:1]
    places = np.linspace(0.0, length, int(np.ceil(length / _STEP_M)) + 1)
    return np.stack([np.interp(places, along, points[:, axis]) for axis in range(3)], axis=1)


def band(path: np.ndarray, half_width: float) -> np.ndarray:
    """Return the left and right edge of what a vehicle following ``path`` covers, (S, 2, 3) m."""
    points = dense(path)
    if len(points) < 2:
        return np.empty((0, 2, 3))
    heading = np.gradient(points[:, :2], axis=0)
    heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-9)
    side = np.stack([-heading[:, 1], heading[:, 0], np.zeros(len(points))], axis=1) * half_width
    return np.stack([points + side, points - side], axis=1)


def outline(run: np.ndarray) -> np.ndarray:
    """Return the outline (2 K, 2) px of a piece of a band, (K, 2, 2) px."""
    return np.concatenate([run[:, 0], run[::-1, 1]])


def ranked_shapes(arrays: PlanArrays,
                  lines_of: Callable[[int], list[np.ndarray]]) -> list[Shape]:
    """Return the candidates but the selected one as shapes, the worst rank first.

    ``lines_of``: from a rank to the lines of its path, (K, 2) px.
    """
    count = len(arrays.candidates)
    lines: dict[int, list[np.ndarray]] = {}
    bad: list[np.ndarray] = []
    first = 0 if arrays.selected is None else 1
    for rank in range(first, count):
        into = lines.setdefault(shade(max(1, rank), count), []) if arrays.plausible[rank] else bad
        into += lines_of(rank)
    shapes = [Shape(svg_path(bad), 'bad')]
    shapes += [Shape(svg_path(lines[key]), f'rank k{key}') for key in sorted(lines, reverse=True)]
    return [shape for shape in shapes if shape.d]


@dataclass(frozen=True)
class Ground:
    """The paths of a plan with points close together, to be projected into several cameras.

    ``candidates``: (S, 3) m each; ``truth``: the true future; ``swath``: see ``band``, empty
    without a selected path.
    """

    arrays: PlanArrays
    candidates: Sequence[np.ndarray]
    truth: np.ndarray
    swath: np.ndarray

    @staticmethod
    def of(arrays: PlanArrays, half_width: float) -> Ground:
        """``half_width``: of the vehicle, m."""
        selected = arrays.selected
        return Ground(arrays, [dense(path) for path in arrays.candidates], dense(arrays.future),
                      np.empty((0, 2, 3)) if selected is None else band(selected, half_width))


def view_shapes(ground: Ground, camera: CameraModel) -> list[Shape]:
    """Return what to draw over a camera's image of the size of ``camera``.

    The selected path is a line on a band as wide as the vehicle.
    """
    def lines_of(path: np.ndarray) -> list[np.ndarray]:
        return [run[:, 0] for run in camera.visible_runs(path[:, None])]

    shapes = ranked_shapes(ground.arrays, lambda rank: lines_of(ground.candidates[rank]))
    pieces = camera.visible_runs(ground.swath)
    shapes.append(Shape(svg_path(list(map(outline, pieces)), closed=True), 'band'))
    truth = svg_path(lines_of(ground.truth))
    shapes += [Shape(truth, 'truth under'), Shape(truth, 'truth')]
    if ground.arrays.selected is not None:
        line = svg_path(lines_of(ground.candidates[0]))
        shapes += [Shape(line, 'selected under'), Shape(line, 'selected')]
    return [shape for shape in shapes if shape.d]
