"""The things of the driving world as coloured faces: boxes, discs and figures that turn to the eye.

A shape is built once per kind and rounded size and then scaled, so placing many is a few numpy
operations. Its faces fall into groups that are drawn by distance, each face by face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

LABELS = ('sky', 'ground', 'asphalt', 'marking', 'building', 'tree', 'vehicle', 'vehicle_braking',
          'vehicle_indicating', 'pedestrian', 'cone', 'barrier', 'light_red', 'light_green',
          'light_amber', 'sign', 'pole', 'light_dark', 'cyclist', 'sidewalk')
"""Classes of the label map. The rear and the lamps of a braking vehicle are 'vehicle_braking', lit
indicators 'vehicle_indicating'; the front of a traffic light has its colour, the rest of its head
is 'light_dark'."""

TINT, RED, PART, LABEL, GLOW, DETAIL, GROUP = 0, 1, 4, 5, 6, 7, 8
"""Columns of a face's attributes: share of the thing's colour, own colour (three columns), order
within its group, label, whether it shines, smallest size in m (0: always drawn), group."""
COLUMNS = 9
CIRCLE = np.stack([wave(np.arange(8) * (math.pi / 4)) for wave in (np.cos, np.sin)], axis=1)

Colour = float | tuple[float, float, float]
"""A share of the thing's own colour, or RGB."""


@dataclass(frozen=True)
class Shape:
    """Faces in units of a thing's size, the thing standing on the origin and heading along x.

    ``quads``: (N, 4, 3), anticlockwise seen from outside. ``anchors`` (M, 3), ``outlines``
    (M, 8, 2): discs and figures, in width and height about the anchor, that face ``normals`` (M,
    2), or the eye where that is zero. ``centres`` (G, 3) and ``radii`` (G,), in m at the rounded
    size, bound the groups.
    """

    quads: np.ndarray
    quad_attributes: np.ndarray
    anchors: np.ndarray
    outlines: np.ndarray
    normals: np.ndarray
    sprite_attributes: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    size: np.ndarray


class Builder:
    """Collects the faces of one shape, in metres."""

    def __init__(self, size: tuple[float, float, float], label: str) -> None:
        self.size = np.array(size)
        self.label = label
        self.group = 0
        self._quads: list = []
        self._quad_rows: list = []
        self._anchors: list = []
        self._outlines: list = []
        self._normals: list = []
        self._sprite_rows: list = []

    def _row(self, colour: Colour, part: float, label: str | None, glow: float,
             detail: float) -> tuple:
        tint, own = (0.0, colour) if isinstance(colour, tuple) else (colour, (0.0, 0.0, 0.0))
        return (tint, *own, part, LABELS.index(label or self.label), glow, detail, self.group)

    def quad(self, corners: list, colour: Colour, part: float = 0, label: str | None = None,
             glow: float = 0.0, detail: float = 0.0) -> None:
        """Add a face: four corners, anticlockwise seen from outside."""
        self._quads.append(corners)
        self._quad_rows.append(self._row(colour, part, label, glow, detail))

    def plate(self, axis: str, at: float, across: tuple[float, float], up: tuple[float, float],
              colour: Colour, part: float = 0, **more: object) -> None:
        """Add an upright rectangle that faces ``axis`` ('+x', '-x', '+y', '-y') at ``at`` m."""
        (a, b), (low, high) = across, up
        if axis in ('-x', '+y'):
            a, b = b, a
        corners = ([(at, c, z) for c, z in ((a, low), (b, low), (b, high), (a, high))]
                   if axis[1] == 'x' else
                   [(c, at, z) for c, z in ((a, low), (b, low), (b, high), (a, high))])
        self.quad(corners, colour, part, **more)

    def box(self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float],
            colour: Colour, part: float = 0, top: tuple[float, float, float, float] | None = None,
            wall: Colour | None = None, inset: Colour | None = None, **more: object) -> None:
        """Add a box without its underside.

        ``top``: x and y range of the upper face where it differs. ``wall``: colour of the sides
        where it differs. ``inset``: colour of a smaller pane on each side.
        """
        x0, x1, y0, y1 = top or (*x, *y)
        low = [(x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])]
        high = [(x1, y0), (x1, y1), (x0, y1), (x0, y0)]
        self.quad([(*corner, z[1]) for corner in high], colour, part, **more)
        for i in range(4):
            j = (i + 1) % 4
            face = np.array([(*low[i], z[0]), (*low[j], z[0]), (*high[j], z[1]), (*high[i], z[1])])
            self.quad(face, colour if wall is None else wall, part, **more)
            if inset is not None:
                middle = face.mean(axis=0)
                self.quad(middle + (face - middle) * 0.86, inset, part + 0.1, **more)

    def sprite(self, anchor: tuple[float, float, float], outline: np.ndarray | list,
               colour: Colour, part: float = 0, normal: tuple[float, float] = (0.0, 0.0),
               label: str | None = None, glow: float = 0.0, detail: float = 0.0) -> None:
        """Add a convex outline of at most eight (width, height) points in m about an anchor."""
        points = np.asarray(outline, dtype=np.float64)
        self._anchors.append(anchor)
        self._outlines.append(np.concatenate([points, np.tile(points[-1:], (8 - len(points), 1))]))
        self._normals.append(normal)
        self._sprite_rows.append(self._row(colour, part, label, glow, detail))

    def figure(self, below: float, above: float, z: tuple[float, float], colour: Colour,
               part: float = 0, middle: tuple[float, float] = (0.0, 0.0),
               **more: object) -> None:
        """Add a trapezium that turns to the eye: width below and above, middles sideways, in m."""
        self.sprite((0.0, 0.0, 0.0), [
            (middle[0] - below / 2, z[0]), (middle[0] + below / 2, z[0]),
            (middle[1] + above / 2, z[1]), (middle[1] - above / 2, z[1])], colour, part, **more)

    def shape(self) -> Shape:
        quads = np.array(self._quads, dtype=np.float64).reshape(-1, 4, 3)
        quad_rows = np.array(self._quad_rows, dtype=np.float32).reshape(-1, COLUMNS)
        anchors = np.array(self._anchors, dtype=np.float64).reshape(-1, 3)
        outlines = np.array(self._outlines, dtype=np.float64).reshape(-1, 8, 2)
        sprite_rows = np.array(self._sprite_rows, dtype=np.float32).reshape(-1, COLUMNS)
        # A sprite may turn about its anchor: its reach counts towards every side.
        reach = np.abs(outlines[..., 0]).max(axis=1, initial=0.0)
        middle = anchors + np.pad(outlines.mean(axis=1)[:, 1:], ((0, 0), (2, 0)))
        tall = np.ptp(outlines[..., 1], axis=1) / 2 if len(outlines) else np.zeros(0)
        groups = int(max(quad_rows[:, GROUP].max(initial=0), sprite_rows[:, GROUP].max(initial=0)))
        centres, radii = np.zeros((groups + 1, 3)), np.zeros(groups + 1)
        for group in range(groups + 1):
            corners = quads[quad_rows[:, GROUP] == group].reshape(-1, 3)
            mine = sprite_rows[:, GROUP] == group
            points = np.concatenate([corners, middle[mine]])
            centres[group] = (points.min(axis=0) + points.max(axis=0)) / 2
            radii[group] = max(
                np.linalg.norm(corners - centres[group], axis=1).max(initial=0.0),
                (np.linalg.norm(middle[mine] - centres[group], axis=1)
                 + np.hypot(reach[mine], tall[mine])).max(initial=0.0))
        return Shape((quads / self.size).astype(np.float32), quad_rows,
                     (anchors / self.size).astype(np.float32),
                     (outlines / self.size[1:]).astype(np.float32),
                     np.array(self._normals, dtype=np.float32).reshape(-1, 2), sprite_rows,
                     (centres / self.size).astype(np.float32), radii.astype(np.float32),
                     self.size)


@cache
def bush(variant: int) -> np.ndarray:
    """Return a ragged round outline (8, 2) of radius about one."""
    rng = np.random.default_rng(variant)
    return CIRCLE * rng.uniform(0.84, 1.1, (8, 1))
