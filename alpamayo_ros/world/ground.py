"""What lies flat: strips of paving and paint as quads, and the shadows that things cast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alpamayo_ros.world.faces import PAINT, PAVING, SHADOW, Faces, flat_faces
from alpamayo_ros.world.light import Light
from alpamayo_ros.world.shapes import LABELS
from alpamayo_ros.world.types import Look, Strip, Thing

_BEND_M = 0.03
_WHITE = (226.0, 226.0, 220.0)
_SIDEWALK = (164.0, 160.0, 153.0)
_DASHES = {'dashed_line': (3.0, 6.0), 'crossing': (0.5, 0.5)}
_THIN = ('traffic_light', 'pole', 'sign')
_UNDER = 0.42
_TRUNK, _TOP = 0.12, 0.95
"""Shares of a footprint that touch the ground beneath a tree, and that cast the shadow."""
_SHADOW_REACH_M, _SHADOW_DETAIL_M = 9.0, 0.6


def lay(strips: Sequence[Strip], look: Look, light: Light) -> Faces:
    """Turn paving and paint into quads, each as long as the bends allow."""
    paving = {'asphalt': (look.asphalt, 'asphalt'), 'sidewalk': (_SIDEWALK, 'sidewalk')}
    quads, layers, colours = [np.zeros((0, 4, 2))], [], []
    for strip in strips:
        colour, label = paving.get(strip.kind, (_WHITE, 'marking'))
        ribbon = _ribbon(strip)
        quads.append(ribbon)
        layers += [PAVING if strip.kind in paving else PAINT] * len(ribbon)
        colours += [(*(light.ground * c for c in colour), LABELS.index(label))] * len(ribbon)
    return flat_faces(np.concatenate(quads), np.array(layers, dtype=np.int64), np.array(colours))


def shadows(things: Sequence[Thing], light: Light) -> Faces:
    """Return what things cast on the ground; the colour is the share of light left, 0 to 255.

    The footprint, the top moved along the light, and the band between the two.
    """
    rows = np.array([(thing.x, thing.y, thing.yaw, *thing.size,
                      _TRUNK if thing.kind == 'tree' else 1.06) for thing in things
                     if thing.kind not in _THIN]).reshape(-1, 7)
    origin, length, width = rows[:, :2], rows[:, 3:4], rows[:, 4:5]
    heading = np.stack([np.cos(rows[:, 2]), np.sin(rows[:, 2])], axis=1)
    along = heading * length / 2
    across = np.stack([-heading[:, 1], heading[:, 0]], axis=1) * width / 2
    spread = np.stack([along + across, across - along, -along - across, along - across], axis=1)
    feet = origin[:, None] + rows[:, 6, None, None] * spread
    parts = [feet]
    if light.shadow > 0.1:
        move = rows[:, 5:6] * light.cast
        move *= np.minimum(1.0, _SHADOW_REACH_M / (np.linalg.norm(move, axis=1) + 1e-9))[:, None]
        # The band sweeps the diagonal that lies more across the light.
        one, other = (np.abs(side[:, 0] * move[:, 1] - side[:, 1] * move[:, 0])
                      for side in (along + across, along - across))
        top = origin[:, None] + _TOP * spread + move[:, None]
        band = np.concatenate([feet, top], axis=1)
        parts += [top, np.where((one > other)[:, None, None], band[:, [0, 2, 6, 4]],
                                band[:, [3, 1, 5, 7]])]
    left = np.repeat([255.0 * (1.0 - light.shadow), 255.0 * _UNDER],
                     [len(rows) * (len(parts) - 1), len(rows)])
    colours = np.zeros((len(left), 4))
    colours[:, 0] = left
    return flat_faces(np.concatenate(parts[::-1]), np.full(len(left), SHADOW), colours,
                      detail=_SHADOW_DETAIL_M)


def _ribbon(strip: Strip) -> np.ndarray:
    """Return the (N, 4, 2) quads of one strip."""
    points = np.asarray(strip.points, dtype=np.float64).reshape(-1, 2)
    steps = points[1:] - points[:-1]
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    kept = lengths > 1e-6
    points = np.concatenate([points[:1], points[1:][kept]])
    steps, lengths = steps[kept], lengths[kept]
    if not len(steps):
        return np.zeros((0, 4, 2))
    dash = strip.dash or _DASHES.get(strip.kind)
    if dash is not None:
        return _dashes(points, lengths, dash, strip.width)
    ways = steps / lengths[:, None]
    knots = np.concatenate([ways[:1], ways[:-1] + ways[1:], ways[-1:]])
    knots /= np.hypot(knots[:, 0], knots[:, 1])[:, None] + 1e-9
    bends = np.abs(np.arctan2(ways[:-1, 0] * ways[1:, 1] - ways[:-1, 1] * ways[1:, 0],
                              np.sum(ways[:-1] * ways[1:], axis=1)))
    # A chord of n pieces of a bend strays at most its sagitta from it.
    spans = 0.5 * (lengths[:-1] + lengths[1:])
    due = np.floor(np.cumsum(np.sqrt(bends * spans / (8.0 * _BEND_M))))
    chosen = np.flatnonzero(np.concatenate([[1.0], due[:1], due[1:] - due[:-1], [1.0]]))
    normals = np.stack([-knots[:, 1], knots[:, 0]], axis=1)[chosen] * strip.width / 2
    left, right = points[chosen] + normals, points[chosen] - normals
    return np.stack([right[:-1], right[1:], left[1:], left[:-1]], axis=1)


def _dashes(points: np.ndarray, lengths: np.ndarray, dash: tuple[float, float],
            width: float) -> np.ndarray:
    reach = np.concatenate([[0.0], np.cumsum(lengths)])
    starts = np.arange(0.0, max(reach[-1] - 0.3 * dash[0], 1e-6), dash[0] + dash[1])
    ends = np.minimum(starts + dash[0], reach[-1])
    a, b = (np.stack([np.interp(s, reach, points[:, k]) for k in (0, 1)], axis=1)
            for s in (starts, ends))
    along = (b - a) / (np.linalg.norm(b - a, axis=1, keepdims=True) + 1e-9)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1) * width / 2
    return np.stack([a - normals, b - normals, b + normals, a + normals], axis=1)
