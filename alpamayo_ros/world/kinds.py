"""How each kind of thing looks: people, cones, traffic lights, houses, trees, signs."""

from __future__ import annotations

import math
from functools import lru_cache

from alpamayo_ros.world.shapes import CIRCLE, Builder, Shape, bush
from alpamayo_ros.world.types import VEHICLES, Thing
from alpamayo_ros.world.vehicles import TYRE, bus, car, truck, van

_WHITE = (240.0, 240.0, 236.0)
_STEEL = (92.0, 96.0, 100.0)
_LAMPS = {'red': (255.0, 28.0, 20.0), 'amber': (255.0, 176.0, 0.0), 'green': (20.0, 255.0, 110.0)}
_HEAD_M = (0.56, 1.36)
_ARM_FROM_M, _ARM_M = 4.2, 3.3
_STRIDE_M = 0.36


def shape_of(thing: Thing, dark: bool) -> Shape:
    """Return the shape of a thing; ``dark``: head lights and some windows are lit.

    Raises ``ValueError`` for a kind that does not exist.
    """
    variant = 0
    if thing.kind not in _BUILDERS:
        raise ValueError(f'thing of kind {thing.kind!r}: expected one of {tuple(_BUILDERS)}')
    if thing.kind == 'building':
        size = tuple(max(3.0, 3.0 * round(side / 3.0)) for side in thing.size)
        variant = int(abs(13.0 * thing.x + 7.0 * thing.y)) % 3
    elif thing.kind == 'tree':
        size = (4.0, 4.0, 7.0)
        variant = int(abs(13.0 * thing.x + 7.0 * thing.y)) % 4
    elif thing.kind in ('pedestrian', 'cyclist'):
        size = (0.5, 0.6, 1.75) if thing.kind == 'pedestrian' else (1.8, 0.6, 1.75)
        along = thing.x * math.cos(thing.yaw) + thing.y * math.sin(thing.yaw)
        variant = int(along // _STRIDE_M) % 4
    elif thing.kind == 'car':
        size = (4.5, 1.8, 1.5)
    elif thing.kind == 'cone':
        size = (0.45, 0.45, 0.8)
    elif thing.kind in VEHICLES:
        size = tuple(max(0.25, round(4.0 * side) / 4.0) for side in thing.size)
    else:
        size = tuple(max(0.05, round(20.0 * side) / 20.0) for side in thing.size)
    return _shape(thing.kind, size, thing.state, variant, dark)


@lru_cache(maxsize=1024)
def _shape(kind: str, size: tuple[float, float, float], state: str, variant: int,
           dark: bool) -> Shape:
    builder = Builder(size, _LABELS.get(kind, kind))
    _BUILDERS[kind](builder, frozenset(state.split('+')), variant, dark)
    return builder.shape()


def _walker(b: Builder, phase: int, feet: float, legs: tuple[float, float, float]) -> None:
    swing = (0.16, 0.05, 0.16, 0.02)[phase]
    for side in (-1, 1):
        b.figure(0.14, 0.17, (feet, 0.86), legs, 0, (side * swing, side * 0.07))
        b.figure(0.11, 0.13, (0.82, 1.4), 0.8, 0.5, (side * (0.24 + 0.5 * swing), side * 0.23))
    b.figure(0.38, 0.46, (0.8, 1.44), 1.0, 1)
    b.sprite((0.0, 0.0, 1.6), CIRCLE * 0.145, (214.0, 166.0, 136.0), 2)
    b.sprite((0.0, 0.0, 1.66), CIRCLE[[0, 1, 2, 3, 4]] * 0.15, (58.0, 42.0, 34.0), 3, detail=0.15)


def _pedestrian(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    _walker(b, variant, 0.0, (38.0, 42.0, 66.0))


def _cyclist(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    _walker(b, variant, 0.3, (38.0, 42.0, 66.0))
    b.figure(0.09, 0.09, (0.0, 0.7), TYRE, -1)
    for side in (-1, 1):
        for x in (-0.56, 0.56):
            anchor, normal = (x, 0.01 * side, 0.34), (0.0, float(side))
            b.sprite(anchor, CIRCLE * 0.34, TYRE, -1, normal)
            b.sprite(anchor, CIRCLE * 0.26, (150.0, 152.0, 156.0), -0.5, normal, detail=0.4)
        b.plate('+y' if side > 0 else '-y', 0.015 * side, (-0.56, 0.6), (0.5, 0.62),
                (170.0, 40.0, 40.0), -0.2)


def _cone(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    orange = (255.0, 96.0, 8.0)
    b.figure(0.5, 0.48, (0.0, 0.07), (196.0, 66.0, 10.0), 0)
    b.figure(0.38, 0.06, (0.06, 0.8), orange, 1)
    b.figure(0.27, 0.165, (0.32, 0.56), (250.0, 250.0, 246.0), 2)


def _barrier(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    length, width, height = b.size
    along = 'x' if length >= width else 'y'
    long, thick = max(length, width), min(length, width) / 2
    stripes = max(2, round(long / 0.45))
    step = long / stripes
    low = 0.3 * height
    for sign in (-1, 1):
        axis = ('+' if sign > 0 else '-') + ('y' if along == 'x' else 'x')
        for k in range(stripes):
            start = -long / 2 + k * step
            b.plate(axis, sign * thick, (start, start + step), (low, height),
                    (232.0, 26.0, 22.0) if k % 2 == 0 else (248.0, 248.0, 244.0), 1)
        for foot in (-0.42 * long, 0.36 * long):
            b.plate(axis, sign * thick, (foot, foot + 0.12), (0.0, low), (70.0, 70.0, 72.0), 0)
        b.plate(('+' if sign > 0 else '-') + along, sign * long / 2, (-thick, thick),
                (low, height), (232.0, 26.0, 22.0), 1)
    x, y = (long / 2, thick) if along == 'x' else (thick, long / 2)
    b.quad([(x, -y, height), (x, y, height), (-x, y, height), (-x, -y, height)],
           (248.0, 248.0, 244.0), 1)


def _traffic_light(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    top = b.size[2]
    wide, tall = _HEAD_M[0] / 2, min(_HEAD_M[1], 0.8 * top)
    low, housing = top - tall, (20.0, 21.0, 23.0)
    lit = next((name for name in _LAMPS if name in states), '')
    b.box((-0.18, 0.18), (-wide, wide), (low, top), housing, label='light_dark')
    front = f'light_{lit}' if lit else 'light_dark'
    # Its shine makes it, as the lamps, seen from where drivers are, not from aside.
    b.sprite((0.182, 0.0, 0.0), [(-wide, low), (wide, low), (wide, top), (-wide, top)],
             (14.0, 15.0, 17.0), 1, (1.0, 0.0), front, 1.0)
    for k, name in enumerate(('green', 'amber', 'red')):
        anchor = (0.19 + 0.01 * k, 0.0, low + (k + 0.5) * tall / 3)
        if name == lit:
            halo = tuple(0.5 * c for c in _LAMPS[name])
            b.sprite(anchor, CIRCLE * 0.34, halo, 3, (1.0, 0.0), front, 1.0, 0.25)
            b.sprite(anchor, CIRCLE * 0.255, _LAMPS[name], 4, (1.0, 0.0), front, 1.0)
            b.sprite(anchor, CIRCLE * 0.11, tuple(0.4 * c + 150.0 for c in _LAMPS[name]), 5,
                     (1.0, 0.0), front, 1.0, 0.2)
        else:
            b.sprite(anchor, CIRCLE * 0.17, tuple(0.2 * c + 12.0 for c in _LAMPS[name]), 2,
                     (1.0, 0.0), front, 0.0, 0.3)
    b.group = 1
    b.label = 'pole'
    side = _ARM_M if top > _ARM_FROM_M else 0.0
    b.sprite((-0.1, side, 0.0), [(-0.09, 0.0), (0.09, 0.0), (0.07, top - 0.15),
                                 (-0.07, top - 0.15)], _STEEL)
    if side:
        b.group = 2
        b.box((-0.16, -0.04), (0.0, side), (top - 0.3, top - 0.18), _STEEL)


def _building(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    length, width, height = b.size
    floors = max(1, round(height / 3.0))
    storey = height / floors
    roofed = floors <= 3 and variant != 2
    lit = (250.0, 206.0, 128.0)
    for axis, at, extent in (('-x', length / 2, width), ('+x', length / 2, width),
                             ('-y', width / 2, length), ('+y', width / 2, length)):
        sign = -1.0 if axis[0] == '-' else 1.0
        sections = max(1, round(extent / 6.0))
        step = extent / sections
        for k in range(sections):
            start = -extent / 2 + k * step
            b.plate(axis, sign * at, (start, start + step), (0.0, height), 1.0)
            panes = 1 if variant == 1 else max(1, round(step / 3.0))
            for floor in range(floors):
                for pane in range(panes):
                    left = start + step * (pane + (0.1 if panes == 1 else 0.26)) / panes
                    right = start + step * (pane + (0.9 if panes == 1 else 0.74)) / panes
                    low = floor * storey
                    bright = dark and (7 * floor + 5 * pane + 3 * k + variant) % 4 == 0
                    shade = 1.0 + 0.18 * math.sin(7.1 * pane + 3.3 * floor + 5.0 * k)
                    b.plate(axis, sign * (at + 0.02), (left, right),
                            (low + 0.28 * storey, low + 0.78 * storey),
                            lit if bright else (62.0 * shade, 74.0 * shade, 88.0 * shade), 1,
                            glow=0.8 if bright else 0.0, detail=0.5)
            if roofed:
                corners = [(start, 0.0), (start + step, 0.0), (start + step, 1.0), (start, 1.0)]
                if axis in ('-x', '+y'):
                    corners = [corners[i] for i in (1, 0, 3, 2)]
                points = []
                for along, rise in corners:
                    inward = 0.42 * min(length, width) * rise
                    along *= 1.0 - 2.0 * inward / extent * (extent > 2.0 * inward)
                    out = sign * (at - inward)
                    where = (out, along) if axis[1] == 'x' else (along, out)
                    points.append((*where, height + 2.4 * rise))
                b.quad(points, (112.0, 66.0, 54.0) if variant else (84.0, 78.0, 78.0), 1)
            b.group += 1
    b.quad([(length / 2, -width / 2, height), (length / 2, width / 2, height),
            (-length / 2, width / 2, height), (-length / 2, -width / 2, height)], 0.7)


def _tree(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    trunk = (86.0, 64.0, 46.0)
    if variant == 3:
        b.figure(0.3, 0.26, (0.0, 1.2), trunk)
        for k, (wide, low, high) in enumerate(((3.6, 0.9, 3.8), (2.9, 2.5, 5.4), (2.0, 4.2, 7.0))):
            b.figure(wide, 0.1, (low, high), 0.72 + 0.1 * k, 1 + k)
        return
    b.figure(0.36, 0.26, (0.0, 3.2), trunk)
    ragged = bush(variant)
    b.sprite((0.0, 0.0, 4.4), ragged * (1.95, 2.1), 0.74, 1)
    lean = (0.25, -0.3, 0.0)[variant]
    b.sprite((0.0, 0.0, 4.9), ragged[::-1] * (1.5, 1.6) + (lean, 0.1), 0.92, 2)
    b.sprite((0.0, 0.0, 5.5), ragged * (0.9, 0.95) + (1.6 * lean, 0.15), 1.1, 3, detail=0.45)


def _pole(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    width, height = b.size[1], b.size[2]
    b.figure(max(0.14, min(width, 0.3)), 0.12, (0.0, height), 1.0)


def _sign(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    width, height = max(0.5, b.size[1]), b.size[2]
    tall = min(width, 0.5 * height)
    b.label = 'pole'
    b.sprite((-0.03, 0.0, 0.0), [(-0.05, 0.0), (0.05, 0.0), (0.05, height - 0.1),
                                 (-0.05, height - 0.1)], _STEEL)
    b.label = 'sign'
    low = height - tall
    b.plate('+x', 0.02, (-width / 2, width / 2), (low, height), _WHITE, 1)
    b.plate('+x', 0.03, (-0.42 * width, 0.42 * width), (low + 0.08 * tall, height - 0.08 * tall),
            1.0, 2)
    b.plate('-x', 0.0, (-width / 2, width / 2), (low, height), (128.0, 130.0, 132.0), 1)


_BUILDERS = {'car': car, 'van': van, 'truck': truck, 'bus': bus, 'pedestrian': _pedestrian,
             'cyclist': _cyclist, 'cone': _cone, 'barrier': _barrier,
             'traffic_light': _traffic_light, 'building': _building, 'tree': _tree, 'pole': _pole,
             'sign': _sign}
_LABELS = {**{kind: 'vehicle' for kind in VEHICLES}, 'traffic_light': 'light_dark'}
