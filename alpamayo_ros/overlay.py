"""The candidates of a plan drawn into a camera's view: the selected one as wide as the vehicle."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from alpamayo_ros.calibration import CameraModel
from alpamayo_ros.colors import RGBA, SELECTED, candidate_color
from alpamayo_ros.types import Plan

MAX_WIDTH = 960
"""Pixels: a picture for people need not be wider."""

_STEP_M = 0.4
_MAX_POINTS = 500
_FRACTION_BITS = 4
# Far outside the image OpenCV's integers would overflow.
_MARGIN = 2.0


def draw(image: np.ndarray, camera: CameraModel, plan: Plan, half_width_m: float,
         age_s: float = 0.0) -> np.ndarray:
    """Return ``image``, RGB uint8 (H, W, 3), with every candidate drawn in, the best on top.

    ``camera`` is scaled to the image's size. ``half_width_m``: of the vehicle; ``age_s``: how long
    before t0 the image was taken: the vehicle has driven on since, at the speed of the plan.
    """
    height, width = image.shape[:2]
    camera = camera.resized(width, height)
    ahead = np.array([plan.v0 * age_s, 0.0, 0.0])
    lines = [_dense(candidate.xyz) + ahead for candidate in plan.candidates]
    count = len(lines)
    thickness = max(1, round(width / 640))
    picture, others = image.copy(), image.copy()
    # In one projection: each has a cost of its own.
    ends = np.cumsum([len(line) for line in lines])
    pixels = np.split(camera.project(np.vstack(lines)), ends[:-1])
    for rank in reversed(range(1, count)):
        color = candidate_color(rank, count, plan.candidates[rank].plausible)
        _polyline(others, pixels[rank], color, thickness)
    cv2.addWeighted(others, 0.75, picture, 0.25, 0.0, dst=picture)
    if plan.candidates[0].plausible:
        band = picture.copy()
        for quad in _band(lines[0], half_width_m, camera):
            cv2.fillPoly(band, [quad], _rgb(SELECTED), cv2.LINE_AA, _FRACTION_BITS)
        cv2.addWeighted(band, 0.35, picture, 0.65, 0.0, dst=picture)
    _polyline(picture, pixels[0], candidate_color(0, count, plan.candidates[0].plausible),
              2 * thickness)
    return picture


def _dense(path: np.ndarray) -> np.ndarray:
    """The way from the vehicle along ``path`` (T, 3) with points close together, (N, 3) m."""
    points = np.vstack([np.zeros(3), path])
    points = points[np.isfinite(points).all(axis=1)]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0.0, along[-1], min(_MAX_POINTS, int(along[-1] / _STEP_M) + 2))
    return np.stack([np.interp(places, along, points[:, axis]) for axis in range(3)], axis=1)


def _band(line: np.ndarray, half_width_m: float, camera: CameraModel) -> Iterator[np.ndarray]:
    """The visible quads, (4, 2) each, of a band around a line (N, 3) m on the ground."""
    heading = np.gradient(line[:, :2], axis=0)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
    side = half_width_m * np.stack(
        [-heading[:, 1], heading[:, 0], np.zeros(len(line))], axis=1)
    edges = camera.project(np.stack([line + side, line - side]))
    seen = np.stack([_drawable(edge, camera.width, camera.height) for edge in edges]).all(axis=0)
    for index in np.flatnonzero(seen[:-1] & seen[1:]):
        yield _fixed_point(np.stack([edges[0, index], edges[0, index + 1], edges[1, index + 1],
                                     edges[1, index]]))


def _drawable(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    size = np.array([width, height])
    with np.errstate(invalid='ignore'):
        return ((pixels > -_MARGIN * size) & (pixels < (1 + _MARGIN) * size)).all(axis=-1)


def _polyline(image: np.ndarray, pixels: np.ndarray, color: RGBA, thickness: int) -> None:
    height, width = image.shape[:2]
    seen = _drawable(pixels, width, height)
    # Where the line leaves what can be drawn it is cut.
    cuts = np.flatnonzero(np.diff(seen)) + 1
    pieces = [_fixed_point(piece) for piece, first in zip(
        np.split(pixels, cuts), np.split(seen, cuts), strict=True) if first[0] and len(piece) > 1]
    cv2.polylines(image, pieces, False, _rgb(color), thickness, cv2.LINE_AA, _FRACTION_BITS)


def _fixed_point(pixels: np.ndarray) -> np.ndarray:
    return np.round(pixels * 2 ** _FRACTION_BITS).astype(np.int32)


def _rgb(color: RGBA) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in color[:3])
