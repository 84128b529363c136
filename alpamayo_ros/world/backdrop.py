"""What lies behind and over a view: sky and hills, the ground's grain, haze, rain, sensor noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from alpamayo_ros.rig import MountedCamera
from alpamayo_ros.world.light import Light
from alpamayo_ros.world.shapes import LABELS
from alpamayo_ros.world.types import Look

_TILE, _TILE_M = 256, 0.16
_GRAIN = 0.17
_SCALE = 200
"""What the ground's tone counts as 1."""
_COARSE = 2
_FINE_FROM = 640
"""Image width in pixels above which single places of the grain would show as squares."""


@dataclass(frozen=True)
class Ground:
    """Where the pixels below the horizon meet the ground: ``x``, ``y`` (ego frame, m) and
    ``distance`` m at half the resolution, for the rows from ``row`` on."""

    row: int
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray


@lru_cache(maxsize=32)
def ground_of(camera: MountedCamera, width: int, height: int) -> Ground:
    """Return the ground that a camera sees."""
    matrix = camera.intrinsics(width, height)
    focal, pitch = matrix[0, 0], math.radians(camera.pitch_deg)
    row = int(np.clip(math.ceil(0.5 * height - focal * math.tan(pitch)), 0, height))
    u = (np.arange(0, width, _COARSE) + 0.5 * _COARSE - 0.5 * width) / focal
    v = (np.arange(row, height, _COARSE) + 0.5 * _COARSE - 0.5 * height) / focal
    rays = np.stack(np.broadcast_arrays(u[None, :], v[:, None], 1.0), axis=-1) @ camera.rotation
    reach = camera.xyz[2] / np.maximum(-rays[..., 2], 1e-4)
    hits = rays * np.minimum(reach, 3000.0)[..., None]
    return Ground(row, (hits[..., 0] + camera.xyz[0]).astype(np.float32),
                  (hits[..., 1] + camera.xyz[1]).astype(np.float32),
                  np.linalg.norm(hits, axis=-1).astype(np.float32))


@lru_cache(maxsize=2)
def _grain(fineness: int) -> np.ndarray:
    """Return a tile of rough ground, float32 in -1 to 1, that repeats seamlessly.

    Flat, of (fineness * _TILE) ** 2 places.
    """
    rng = np.random.default_rng(7)
    tile = np.zeros((_TILE, _TILE))
    for size, weight in ((8, 0.8), (32, 0.7), (128, 0.9)):
        rough = np.tile(rng.standard_normal((size, size)), (3, 3))
        smooth = cv2.resize(rough, (3 * _TILE, 3 * _TILE), interpolation=cv2.INTER_CUBIC)
        tile += weight * smooth[_TILE:2 * _TILE, _TILE:2 * _TILE]
    tile = np.clip(tile / 2.8, -1.0, 1.0).astype(np.float32)
    if fineness > 1:
        side = 3 * fineness * _TILE
        tile = cv2.resize(np.tile(tile, (3, 3)), (side, side))[side // 3:-side // 3,
                                                               side // 3:-side // 3]
    return tile.ravel()


@lru_cache(maxsize=16)
def _noise(width: int, height: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what to add to and to take from an image, with room to shift: noise of level / 2."""
    rng = np.random.default_rng(level)
    noise = np.rint(rng.standard_normal((height + 37, width + 41, 3), dtype=np.float32)
                    * (0.5 * level))
    return (np.clip(noise, 0, 255).astype(np.uint8), np.clip(-noise, 0, 255).astype(np.uint8))


@lru_cache(maxsize=16)
def _streaks(width: int, height: int, level: int) -> np.ndarray:
    """Return falling rain to add to an image, with room to shift; level 1 to 10."""
    rng = np.random.default_rng(100 + level)
    image = np.zeros((height + 64, width + 64), dtype=np.uint8)
    long = height / 192
    for _ in range(26 * level):
        x, y = rng.uniform(0, width + 64), rng.uniform(0, height + 64)
        length = long * rng.uniform(5.0, 15.0)
        cv2.line(image, (int(x), int(y)), (int(x - 0.12 * length), int(y + length)),
                 int(rng.uniform(16, 46)), max(1, round(0.4 * long * rng.uniform(0.6, 1.4))))
    return cv2.merge([cv2.blur(image, (1, 3))] * 3)


class Backdrop:
    """Sky, haze and ground of one drive in one camera at one resolution."""

    def __init__(self, look: Look, light: Light, camera: MountedCamera, width: int,
                 height: int) -> None:
        self._look, self._width, self._height = look, width, height
        self._ground = ground_of(camera, width, height)
        self.row = self._ground.row
        clear = np.exp(-self._ground.distance / look.haze_m)
        self._clear = clear * _SCALE
        self._rough = _SCALE * _GRAIN * clear / (1.0 + (self._ground.distance / 14.0) ** 2)
        haze = look.brightness * np.array(look.haze, dtype=np.float32)
        veil = np.zeros((*clear.shape, 4), np.uint8)
        np.multiply((1.0 - clear)[..., None], haze, out=veil[..., :3], casting='unsafe')
        size = (width, height - self.row)
        self._veil = cv2.resize(veil, size) if self.row < height else veil
        self._neutral = np.full(size[::-1], _SCALE, np.uint8)

        focal = camera.intrinsics(width, height)[0, 0]
        slopes = (np.arange(self.row) + 0.5 - 0.5 * height) / focal
        elevation = -np.arctan(slopes) - math.radians(camera.pitch_deg)
        blend = np.clip(elevation / 0.6, 0.0, 1.0)[:, None] ** 0.7
        sky = look.brightness * np.array(look.sky, dtype=np.float64)
        if look.rain > 0.0:
            grey = np.full(3, sky.mean() * 0.85)
            sky = sky + min(1.0, 1.4 * look.rain) * (grey - sky)
        rows = haze * (1.0 - blend) + sky * blend
        soil = np.array(look.ground) * light.ground
        canvas = np.empty((height, width, 4), np.uint8)
        canvas[:self.row, :, :3] = np.clip(rows, 0, 255).astype(np.uint8)[:, None]
        canvas[self.row:, :, :3] = np.clip(soil, 0, 255).astype(np.uint8)
        canvas[:self.row, :, 3] = LABELS.index('sky')
        canvas[self.row:, :, 3] = LABELS.index('ground')
        self._canvas = canvas
        self._hill = (*(0.5 * haze + 0.5 * look.brightness * np.array((86.0, 104.0, 100.0))),
                      LABELS.index('sky'))
        self._columns = np.linspace(0.0, width, 33)
        bearing = np.arctan((self._columns - 0.5 * width) / focal)
        self._azimuths = math.radians(camera.yaw_deg) - bearing
        # How far above the horizon's row a height of 1 rad at the horizon stands.
        self._lift = focal / np.cos(bearing)
        rng = np.random.default_rng(look.seed)
        self._ridge = rng.uniform(0.0, 2.0 * math.pi, 3)
        self._tall = rng.uniform(0.012, 0.05)
        self._fineness = 1 if width <= _FINE_FROM else 4
        self._origin = rng.integers(0, _TILE, 2) * self._fineness

    def canvas(self, yaw: float) -> np.ndarray:
        """Return a fresh (height, width, 4) RGB and label canvas: sky, hills and bare ground."""
        canvas = self._canvas.copy()
        if not 0 < self.row:
            return canvas
        azimuth = self._azimuths + yaw
        rise = self._tall * (1.0 + 0.5 * np.sin(3.0 * azimuth + self._ridge[0])
                             + 0.3 * np.sin(7.0 * azimuth + self._ridge[1])
                             + 0.16 * np.sin(19.0 * azimuth + self._ridge[2]))
        line = np.stack([self._columns, self.row - rise * self._lift], axis=1)
        outline = np.concatenate([line, [[self._width, self.row], [0.0, self.row]]])
        cv2.fillPoly(canvas[:self.row], [np.rint(outline * 16).astype(np.int32)], self._hill, 8, 4)
        return canvas

    def tone(self, canvas: np.ndarray, shadow: np.ndarray | None, ego: np.ndarray) -> None:
        """Give the ground in the canvas its grain, its shadows and its haze, in place.

        ``shadow``: uint8 of the rows below the horizon, 255 where the light is whole.
        """
        if self.row >= self._height:
            return
        scale, side = self._fineness / _TILE_M, self._fineness * _TILE
        cos, sin = math.cos(ego[2]) * scale, math.sin(ego[2]) * scale
        x, y = self._ground.x, self._ground.y
        east = (x * cos - y * sin + (ego[0] * scale + self._origin[0])).astype(np.int32)
        north = (x * sin + y * cos + (ego[1] * scale + self._origin[1])).astype(np.int32)
        east &= side - 1
        north &= side - 1
        north *= side
        north += east
        tone = _grain(self._fineness)[north]
        tone *= self._rough
        tone += self._clear
        size = (self._width, self._height - self.row)
        tone = cv2.resize(cv2.convertScaleAbs(tone), size)
        if shadow is not None:
            tone = cv2.multiply(tone, shadow, scale=1.0 / 255.0)
        below = canvas[self.row:]
        cv2.multiply(below, cv2.merge([tone, tone, tone, self._neutral]), below, 1.0 / _SCALE)
        cv2.add(below, self._veil, below)


def weather(image: np.ndarray, look: Look, salt: int) -> None:
    """Add rain and sensor noise to an RGB image, in place; ``salt`` makes frames differ."""
    height, width = image.shape[:2]
    seed = (look.seed * 2654435761 + salt * 40503 + 12345) & 0xFFFFFFFF
    seed = (seed ^ (seed >> 15)) * 2246822519 & 0xFFFFFFFF
    seed ^= seed >> 13
    if look.rain > 0.0:
        level = max(1, min(10, round(10 * look.rain)))
        x, y = (seed >> 3) % 64, (seed >> 9) % 64
        cv2.add(image, _streaks(width, height, level)[y:y + height, x:x + width], image)
    level = round(2.0 * look.noise)
    if level > 0:
        more, less = _noise(width, height, level)
        x, y = seed % 41, (seed >> 6) % 37
        cv2.add(image, more[y:y + height, x:x + width], image)
        cv2.subtract(image, less[y:y + height, x:x + width], image)
