"""Things placed in the scene as lit faces, in arrays that a camera view selects from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from alpamayo_ros.world.kinds import shape_of
from alpamayo_ros.world.light import Light
from alpamayo_ros.world.shapes import COLUMNS, DETAIL, GLOW, GROUP, LABEL, PART, RED, TINT, Shape
from alpamayo_ros.world.types import VEHICLES, Thing

PAVING, PAINT, SHADOW, SOLID = range(4)
"""Layers; the first two are drawn in the order of their parts, shadows before what is solid."""
_BLINK_ON, _BLINK_PERIOD = 5, 8


LAYER, ORDER, SHINE = 4, 5, 6
"""Columns of ``Faces.rows`` after colour and label."""


@dataclass(frozen=True)
class Faces:
    """Faces in the scene frame, m, float32: N quads and M sprites in G groups.

    The last axis counts, so that arithmetic runs along it. ``quads`` (3, 4, N), anticlockwise from
    outside, with ``normals`` (3, N). Sprites are upright ``outlines`` (2, 8, M) in width and
    height about ``anchors`` (3, M), which face ``headings`` (2, M), or the eye where that is zero.
    ``centres`` (3, G) and ``radii`` (G,) bound the groups, which are drawn by distance.

    ``quad_rows`` (7, N) and ``sprite_rows`` (7, M): RGB with the light in it, label, LAYER,
    ORDER within the layer or group, SHINE 0 to 1. ``.._limits``: distance in m per focal length in
    pixels at which a face is one pixel of detail. ``.._groups``: int.
    """

    quads: np.ndarray
    normals: np.ndarray
    quad_rows: np.ndarray
    quad_limits: np.ndarray
    quad_groups: np.ndarray
    anchors: np.ndarray
    outlines: np.ndarray
    headings: np.ndarray
    sprite_rows: np.ndarray
    sprite_limits: np.ndarray
    sprite_groups: np.ndarray
    centres: np.ndarray
    radii: np.ndarray


def flat_faces(quads: np.ndarray, layer: np.ndarray, colours: np.ndarray, *,
               detail: float = 0.0) -> Faces:
    """Return (N, 4, 2) quads on the ground, each a group, drawn in their order.

    ``layer`` (N,); ``colours`` (N, 4): RGB and label; ``detail`` m as in ``shapes``.
    """
    count = len(quads)
    corners = np.zeros((3, 4, count), dtype=np.float32)
    corners[:2] = quads.transpose(2, 1, 0)
    centres = corners.mean(axis=1)
    away = corners - centres[:, None]
    normals = np.zeros((3, count), dtype=np.float32)
    normals[2] = 1.0
    rows = np.zeros((7, count), dtype=np.float32)
    rows[:4] = np.reshape(colours, (-1, 4)).T
    rows[LAYER], rows[ORDER] = layer, np.arange(count)
    none = np.zeros(0, dtype=np.float32)
    return Faces(corners, normals, rows, _limits(np.full(count, detail, dtype=np.float32)),
                 np.arange(count), none.reshape(3, 0), none.reshape(2, 8, 0), none.reshape(2, 0),
                 rows[:, :0], none, np.arange(0), centres,
                 np.hypot(away[0], away[1]).max(axis=0))


def join(groups: Sequence[Faces]) -> Faces:
    """Put faces together."""
    first = np.cumsum([0, *(len(faces.radii) for faces in groups)])
    joined = {}
    for field in fields(Faces):
        arrays = [getattr(faces, field.name) for faces in groups]
        if field.name.endswith('_groups'):
            arrays = [array + n for array, n in zip(arrays, first[:-1], strict=True)]
        joined[field.name] = np.concatenate(arrays, axis=-1)
    return Faces(**joined)


def place(things: Sequence[Thing], light: Light, step: int) -> Faces:
    """Turn things into lit faces; indicators blink with the step."""
    shapes = [shape_of(_blinking(thing, step), light.dark) for thing in things]
    rows = np.array([(*thing.size, *thing.colour, thing.x, thing.y, 0.0, thing.yaw)
                     for thing in things]).reshape(-1, 10)
    sizes, paint, origins = (rows[:, k:k + 3].astype(np.float32) for k in (0, 3, 6))
    turns = np.zeros((len(things), 3, 3), dtype=np.float32)
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(rows[:, 9])
    turns[:, 0, 1] = np.sin(rows[:, 9])
    turns[:, 1, 0] = -turns[:, 0, 1]
    turns[:, 2, 2] = 1.0
    # Scaled by the size and turned: row vectors times this.
    frames = sizes[:, :, None] * turns
    index = np.arange(len(things))
    on_quads, on_sprites, on_groups = (
        np.repeat(index, [len(getattr(shape, name)) for shape in shapes])
        for name in ('quads', 'anchors', 'radii'))
    first = np.cumsum([0, *(len(shape.radii) for shape in shapes)])

    quads = _gather(shapes, 'quads', (4, 3)) @ frames[on_quads] + origins[on_quads][:, None]
    quads = np.ascontiguousarray(quads.transpose(2, 1, 0))
    a, b = quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 0]
    normals = np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2],
                        a[0] * b[1] - a[1] * b[0]])
    normals /= np.sqrt(np.sum(normals * normals, axis=0)) + np.float32(1e-9)
    anchors, centres = (
        np.ascontiguousarray(((_gather(shapes, name, (3,))[:, None] @ frames[owner])[:, 0]
                              + origins[owner]).T)
        for name, owner in (('anchors', on_sprites), ('centres', on_groups)))
    headings = (_gather(shapes, 'normals', (2,))[:, None] @ turns[on_sprites][:, :2, :2])[:, 0]
    outlines = _gather(shapes, 'outlines', (8, 2)) * sizes[on_sprites][:, None, 1:]
    grown = np.max(sizes / np.array([shape.size for shape in shapes]).reshape(-1, 3), axis=1)
    return Faces(
        quads, normals,
        *_lit(_gather(shapes, 'quad_attributes', (COLUMNS,)), on_quads, paint, first,
              light.on(normals)),
        anchors, np.ascontiguousarray(outlines.transpose(2, 1, 0)),
        np.ascontiguousarray(headings.T),
        *_lit(_gather(shapes, 'sprite_attributes', (COLUMNS,)), on_sprites, paint, first,
              light.around),
        centres, _gather(shapes, 'radii', ()) * grown[on_groups].astype(np.float32))


def _gather(shapes: list[Shape], name: str, width: tuple[int, ...]) -> np.ndarray:
    arrays = [getattr(shape, name) for shape in shapes]
    return np.concatenate(arrays) if arrays else np.zeros((0, *width), dtype=np.float32)


def _lit(attributes: np.ndarray, owner: np.ndarray, paint: np.ndarray, first: np.ndarray,
         shade: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, limits and groups of faces with these attributes."""
    attributes = np.ascontiguousarray(attributes.T)
    glow = attributes[GLOW]
    rows = np.empty((7, len(owner)), dtype=np.float32)
    rows[:3] = attributes[RED:RED + 3] + attributes[TINT] * paint[owner].T
    rows[:3] *= glow + (1.0 - glow) * shade
    rows[3] = attributes[LABEL]
    rows[LAYER] = SOLID
    rows[ORDER] = attributes[PART]
    rows[SHINE] = glow
    return rows, _limits(attributes[DETAIL]), attributes[GROUP].astype(np.intp) + first[owner]


def _limits(detail: np.ndarray) -> np.ndarray:
    return np.where(detail == 0.0, np.float32(np.inf), detail)


def _blinking(thing: Thing, step: int) -> Thing:
    """Return the thing with its indicators off in the dark part of their period."""
    if thing.kind not in VEHICLES or step % _BLINK_PERIOD < _BLINK_ON or (
            'left' not in thing.state and 'right' not in thing.state):
        return thing
    kept = '+'.join(word for word in thing.state.split('+') if word == 'braking')
    return Thing(thing.kind, thing.x, thing.y, thing.yaw, thing.size, thing.colour, kept)
