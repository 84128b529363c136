"""Light and weather of a drive, drawn by seed."""

from __future__ import annotations

import math

import numpy as np

from alpamayo_ros.world.types import Look

_SKIES = (((125, 170, 225), (190, 205, 220)), ((175, 185, 195), (185, 190, 195)),
          ((150, 160, 175), (170, 175, 180)), ((225, 170, 130), (215, 185, 165)),
          ((95, 135, 200), (175, 195, 215)))
_GROUNDS = ((95, 120, 65), (120, 125, 75), (135, 120, 90), (80, 105, 60), (140, 138, 130))


def draw_look(rng: np.random.Generator) -> Look:
    """A clear or grey day, dusk, haze or rain."""
    sky, haze = _SKIES[int(rng.integers(len(_SKIES)))]
    dusk = rng.random() < 0.15
    rain = float(rng.uniform(0.2, 1.0)) if rng.random() < 0.15 else 0.0
    brightness = float(rng.uniform(0.4, 0.65) if dusk else rng.uniform(0.75, 1.1))
    grey = int(rng.integers(62, 112))
    asphalt = tuple(int(value) for value in np.clip(
        grey * (0.85 if rain else 1.0) + rng.integers(-4, 5, 3), 40, 125))
    ground = tuple(int(value) for value in np.clip(
        np.array(_GROUNDS[int(rng.integers(len(_GROUNDS)))]) + rng.integers(-12, 13, 3), 0, 255))
    return Look(seed=int(rng.integers(2 ** 31)), sun_azimuth=float(rng.uniform(-math.pi, math.pi)),
                sun_elevation=float(rng.uniform(0.15, 0.35) if dusk else rng.uniform(0.35, 1.2)),
                brightness=brightness,
                haze_m=float(rng.uniform(110, 220) if rain or rng.random() < 0.15
                             else rng.uniform(300, 1200)),
                sky=sky, haze=haze, ground=ground, asphalt=asphalt, rain=rain,
                noise=float(rng.uniform(1.0, 4.5)))
