"""How cars, vans, trucks and buses look, with their tail lights, indicators and head lights."""

from __future__ import annotations

from collections.abc import Callable

from alpamayo_ros.world.shapes import CIRCLE, Builder, Colour

TYRE = (22.0, 22.0, 24.0)
_GLASS = (42.0, 52.0, 64.0)
_RED_ON, _RED_OFF = (255.0, 24.0, 16.0), (118.0, 20.0, 22.0)
_AMBER = (255.0, 152.0, 0.0)
_WHITE = (240.0, 240.0, 236.0)

_Colouring = Callable[[str, float], Colour]
"""From 'front', 'rear' or 'side' and the place along the vehicle, m."""


def _lamps(b: Builder, states: frozenset[str], dark: bool, low: float, high: float,
           wide: float) -> None:
    """Add tail lights, indicators and head lights on the front and rear faces of a vehicle."""
    rear, front, half = -b.size[0] / 2 - 0.015, b.size[0] / 2 + 0.015, b.size[1] / 2
    braking = 'braking' in states
    for side in (-1, 1):
        def across(inner: float, outer: float, side: int = side) -> tuple[float, float]:
            return tuple(sorted((side * (half - inner), side * (half - outer))))

        b.plate('-x', rear, across(wide * (1.3 if braking else 1.0), 0.0),
                (low - 0.06 * braking, high + 0.06 * braking), _RED_ON if braking else _RED_OFF, 5,
                label='vehicle_braking' if braking else None, glow=1.0 if braking else 0.3 * dark)
        b.plate('+x', front, across(wide + 0.04, 0.05), (low, high), (250.0, 246.0, 224.0), 5,
                glow=1.0 if dark else 0.35, detail=0.0 if dark else 0.4)
        if ('left' if side > 0 else 'right') in states:
            more = dict(label='vehicle_indicating', glow=1.0)
            tall = (low - 0.1, high + 0.1)
            b.plate('-x', rear - 0.01, across(0.26, -0.06), tall, _AMBER, 6, **more)
            b.plate('+x', front + 0.01, across(0.26, -0.06), tall, _AMBER, 6, **more)
            y = side * (half + 0.02)
            for x in (front - 0.32, rear + 0.02):
                b.plate('+y' if side > 0 else '-y', y, (x, x + 0.3), tall, _AMBER, 6, **more)


def _wheels(b: Builder, at: tuple[float, ...], radius: float, side: int) -> None:
    for x in at:
        anchor, normal = (x, side * (b.size[1] / 2 + 0.012), radius), (0.0, float(side))
        b.sprite(anchor, CIRCLE * radius, TYRE, 3, normal, detail=1.2 * radius)
        b.sprite(anchor, CIRCLE * radius * 0.5, (140.0, 142.0, 146.0), 4, normal, detail=0.3)


def car(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    braking = 'braking' in states
    rear = 'vehicle_braking' if braking else None
    b.box((-2.25, 2.25), (-0.9, 0.9), (0.24, 0.86), 1.0, top=(-2.2, 2.12, -0.86, 0.86))
    for axis, x in (('-x', -2.26), ('+x', 2.26)):
        b.plate(axis, x, (-0.88, 0.88), (0.24, 0.42), (40.0, 40.0, 44.0), 2, detail=0.2)
    if braking:
        b.plate('-x', -2.255, (-0.88, 0.88), (0.42, 0.86), 1.0, 1, label=rear)
    b.plate('-x', -2.27, (-0.26, 0.26), (0.46, 0.6), _WHITE, 3, detail=0.25)
    b.plate('+x', 2.255, (-0.5, 0.5), (0.46, 0.68), (34.0, 36.0, 40.0), 3, detail=0.25)
    b.box((-1.95, 1.05), (-0.84, 0.84), (0.86, 1.48), 1.0, 7, top=(-1.45, 0.3, -0.66, 0.66),
          inset=_GLASS)
    for side in (-1, 1):
        _wheels(b, (-1.35, 1.38), 0.34, side)
    _lamps(b, states, dark, 0.58, 0.8, 0.42)
    if braking:
        b.plate('-x', -1.62, (-0.42, 0.42), (1.34, 1.45), _RED_ON, 9, label=rear, glow=1.0)


def _long(b: Builder, states: frozenset[str], dark: bool, floor: float, sides: _Colouring,
          wheels: tuple[float, ...], radius: float) -> None:
    """Add a tall box in sections, each a group of its own: length alone would mislead sorting."""
    half, rear, height = b.size[0] / 2, -b.size[0] / 2, b.size[2]
    wide = b.size[1] / 2
    rear_label = 'vehicle_braking' if 'braking' in states else None
    sections = max(1, round(b.size[0] / 3.0))
    step = b.size[0] / sections
    b.plate('-x', rear, (-wide, wide), (floor, height), sides('rear', 0.0), label=rear_label)
    b.plate('+x', half, (-wide, wide), (floor, height), sides('front', half))
    b.quad([(half, -wide, height), (half, wide, height), (rear, wide, height),
            (rear, -wide, height)], sides('side', 0.0))
    _lamps(b, states, dark, floor + 0.1, floor + 0.44, 0.4)
    for side in (-1, 1):
        for k in range(sections):
            b.group += 1
            x = rear + k * step
            b.plate('+y' if side > 0 else '-y', side * wide, (x, x + step), (floor, height),
                    sides('side', x + step / 2))
            _wheels(b, tuple(w for w in wheels if x <= w < x + step), radius, side)


def van(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    length, width, height = b.size
    half, wide = length / 2, width / 2
    _long(b, states, dark, 0.35, lambda face, x: 1.0, (-0.3 * length, 0.32 * length), 0.36)
    b.group = 0
    b.plate('+x', half + 0.01, (-wide * 0.9, wide * 0.9), (0.55 * height, 0.92 * height), _GLASS, 2)
    for side in (-1, 1):
        y = side * wide * 0.5
        b.plate('-x', -half - 0.01, (y - 0.38 * wide, y + 0.38 * wide),
                (0.58 * height, 0.88 * height), _GLASS, 2)
    b.plate('-x', -half - 0.012, (-0.03, 0.03), (0.4, height), (60.0, 60.0, 64.0), 3, detail=0.3)
    # The side windows belong to the sections that they are on.
    sections = max(1, round(length / 3.0))
    for i, side in enumerate((-1, 1)):
        b.group = (i + 1) * sections
        b.plate('+y' if side > 0 else '-y', side * (wide + 0.01), (half - 1.2, half - 0.25),
                (0.56 * height, 0.9 * height), _GLASS, 2)


def truck(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    length, width, height = b.size
    half, wide = length / 2, width / 2
    cab = half - 2.0

    def sides(face: str, x: float) -> Colour:
        if face == 'rear':
            return (196.0, 196.0, 192.0)
        return 1.0 if face == 'front' or x > cab - 0.3 else (222.0, 222.0, 218.0)

    _long(b, states, dark, 0.75, sides, (-half + 1.3, -half + 2.5, half - 1.3), 0.5)
    b.group = 0
    b.plate('+x', half + 0.01, (-wide * 0.9, wide * 0.9), (0.5 * height, 0.78 * height), _GLASS, 2)
    b.plate('-x', -half - 0.01, (-0.04, 0.04), (1.25, height - 0.1), (90.0, 90.0, 92.0), 3,
            detail=0.3)
    b.plate('-x', -half - 0.005, (-wide, wide), (0.45, 0.85), (44.0, 44.0, 48.0), 2)
    sections = max(1, round(length / 3.0))
    for i, side in enumerate((-1, 1)):
        b.group = (i + 1) * sections
        b.plate('+y' if side > 0 else '-y', side * (wide + 0.01), (half - 1.5, half - 0.3),
                (0.52 * height, 0.76 * height), _GLASS, 2)


def bus(b: Builder, states: frozenset[str], variant: int, dark: bool) -> None:
    length, width, height = b.size
    half, wide = length / 2, width / 2
    _long(b, states, dark, 0.4, lambda face, x: 1.0, (-0.28 * length, 0.3 * length), 0.48)
    b.group = 0
    b.plate('+x', half + 0.01, (-wide * 0.92, wide * 0.92), (0.36 * height, 0.84 * height),
            _GLASS, 2)
    b.plate('-x', -half - 0.01, (-wide * 0.8, wide * 0.8), (0.52 * height, 0.84 * height),
            _GLASS, 2)
    sections = max(1, round(length / 3.0))
    step = length / sections
    for i, side in enumerate((-1, 1)):
        for k in range(sections):
            b.group = i * sections + k + 1
            x = -half + k * step
            b.plate('+y' if side > 0 else '-y', side * (wide + 0.01), (x + 0.12, x + step - 0.12),
                    (0.46 * height, 0.82 * height), _GLASS, 2)
