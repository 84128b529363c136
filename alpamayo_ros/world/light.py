"""What the sun and the sky of a drive do to colours."""

from __future__ import annotations

import math

import numpy as np

from alpamayo_ros.world.types import Look

_DARK = 0.6
_SHADE_UPRIGHT = 0.08


class Light:
    """Sun and sky of a drive.

    ``brightness``: as in ``Look``. ``dark``: head lights and windows are lit. ``ground`` and
    ``around``: the factors for the ground and for something round. ``shadow``: share of the light
    that a shadow takes. ``cast``: (2,), where the shadow of a height of 1 m falls, m.
    """

    def __init__(self, look: Look) -> None:
        up, flat = math.sin(look.sun_elevation), math.cos(look.sun_elevation)
        towards = np.array([math.cos(look.sun_azimuth), math.sin(look.sun_azimuth)])
        clear = max(0.0, 1.0 - 1.3 * look.rain) * min(1.0, max(0.0, 2.0 * look.brightness - 0.7))
        self._direction = np.array([*(flat * towards), up], dtype=np.float32)
        self._sun = 0.48 * clear
        self._sky = 1.0 - 0.8 * self._sun * max(0.2, up)
        self.brightness = look.brightness
        self.dark = look.brightness < _DARK
        self.ground = float(self.on(np.array([[0.0], [0.0], [1.0]]))[0])
        self.around = self.brightness * (self._sky + 0.35 * self._sun)
        self.shadow = 0.55 * clear
        self.cast = -min(2.5, flat / max(0.15, up)) * towards

    def on(self, normals: np.ndarray) -> np.ndarray:
        """Return the factors (N,) for faces with these unit normals (3, N)."""
        sun = self._sun * np.maximum(0.0, self._direction @ normals - 0.25)
        return self.brightness * (self._sky + sun - _SHADE_UPRIGHT * (normals[2] < 0.5))
