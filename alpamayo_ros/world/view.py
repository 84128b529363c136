"""A camera in the scene at one instant: what it sees of faces, projected and cut to its view."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from alpamayo_ros.rig import MountedCamera

_NEAR_M, _FAR_M = 0.15, 250.0


@lru_cache(maxsize=64)
def _axes(camera: MountedCamera) -> np.ndarray:
    """Return the (3, 3) rotation of ego axes into optical axes."""
    return camera.rotation


class View:
    """``eye`` (3,) m and ``turn`` (3, 3), scene to optical axes; ``focal`` px."""

    def __init__(self, ego: np.ndarray, camera: MountedCamera, width: int, height: int) -> None:
        cos, sin = math.cos(ego[2]), math.sin(ego[2])
        to_scene = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        eye = to_scene @ camera.xyz
        eye[:2] += ego[:2]
        self.eye = eye.astype(np.float32)
        turn = _axes(camera) @ to_scene.T
        self.turn = turn.astype(np.float32)
        self._shift = (turn @ eye).astype(np.float32)
        self.width, self.height = width, height
        self.focal = np.float32(0.5 * width / math.tan(math.radians(0.5 * camera.fov_deg)))
        self._slopes = (0.5 * width / float(self.focal), 0.5 * height / float(self.focal))

    def sees(self, centres: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which spheres (3, G) reach into the view, and how far off they stand, m."""
        right, down, depth = self._optical(centres)
        seen = depth > _NEAR_M - radii
        seen &= depth < _FAR_M + radii
        for place, slope in ((right, self._slopes[0]), (down, self._slopes[1])):
            seen &= np.abs(place) < depth * slope + radii * math.hypot(1.0, slope)
        return seen, np.hypot(centres[0] - self.eye[0], centres[1] - self.eye[1])

    def project(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Project convex polygons (3, K, N) of the scene.

        Returns which are on the image (N,); their pixels (2, K, N); and which of these reach
        behind the near plane (N,), whose pixels mean nothing.
        """
        points = self._optical(corners)
        behind = points[2] < _NEAR_M
        cut = behind.any(axis=0)
        pixels = self._pixels(points)
        return self._on_image(pixels) | (cut & ~behind.all(axis=0)), pixels, cut

    def project_cut(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cut convex polygons (3, K, N) of the scene to the near plane and project them.

        Returns which are on the image (N,) and their pixels (2, 2 K, N), with repeated corners.
        """
        _, sides, count = corners.shape
        points = self._optical(corners)
        following = points[:, [*range(1, sides), 0]]
        step = following - points
        ahead = points[2] >= _NEAR_M
        crossing = ahead != (following[2] >= _NEAR_M)
        share = (_NEAR_M - points[2]) / np.where(crossing, step[2], np.float32(1.0))
        both = np.empty((3, sides, 2, count), dtype=np.float32)
        both[:, :, 0], both[:, :, 1] = points, points + step * share
        valid = np.empty((sides, 2, count), dtype=bool)
        valid[:, 0], valid[:, 1] = ahead, crossing
        # A corner that is not there repeats the one before it; the first ones, the last.
        rows = np.arange(2 * sides)[:, None]
        last = np.maximum.accumulate(np.where(valid.reshape(-1, count), rows, -1), axis=0)
        last = np.where(last < 0, last[-1], last)
        pixels = self._pixels(both.reshape(3, -1, count)[:, np.maximum(last, 0), np.arange(count)])
        return self._on_image(pixels) & (last[-1] >= 0), pixels

    def _optical(self, points: np.ndarray) -> np.ndarray:
        """Turn scene points (3, ...) into optical ones."""
        flat = self.turn @ points.reshape(3, -1)
        flat -= self._shift[:, None]
        return flat.reshape(points.shape)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        pixels = points[:2] * (self.focal / np.maximum(points[2], np.float32(_NEAR_M)))
        pixels[0] += np.float32(0.5 * self.width)
        pixels[1] += np.float32(0.5 * self.height)
        return pixels

    def _on_image(self, pixels: np.ndarray) -> np.ndarray:
        (left, high), (right, low) = pixels.min(axis=1), pixels.max(axis=1)
        return (right > 0.0) & (left < self.width) & (low > 0.0) & (high < self.height)


def fixed_point(pixels: np.ndarray) -> list[np.ndarray]:
    """Return polygons (2, K, N) as OpenCV draws them: (K, 2) each, int32 in sixteenths of pixels.

    There, whole numbers are pixel centres.
    """
    near = pixels * np.float32(16.0) - np.float32(7.5)
    np.clip(near, -2.0 ** 26, 2.0 ** 26, out=near)
    return list(np.ascontiguousarray(np.floor(near, out=near).astype(np.int32).transpose(2, 1, 0)))
