"""What a pinhole camera sees of a scene of quads: painter's algorithm, no textures, no shadows."""

from __future__ import annotations

import math

import cv2
import numpy as np

from alpamayo_ros.rig import MountedCamera
from alpamayo_ros.drive.scene import SOLID, EgoMotion, Quads

_NEAR_M = 0.2
_FAR_M = 260.0
_HAZE_M = 240.0
_SKY_HIGH, _SKY_LOW = np.array([112.0, 158.0, 214.0]), np.array([206.0, 220.0, 230.0])
_MEADOW = np.array([104.0, 128.0, 82.0])
_OVERSAMPLING = 2
# Of the near plane and of the four sides of the clipping pyramid.
_OFFSETS = np.array([_NEAR_M, 0.0, 0.0, 0.0, 0.0])


def render(quads: Quads, ego: EgoMotion, camera: MountedCamera, width: int,
           height: int) -> np.ndarray:
    """Return the camera's RGB uint8 (height, width, 3) image with the vehicle at ``ego``."""
    wide, high = width * _OVERSAMPLING, height * _OVERSAMPLING
    matrix = camera.intrinsics(wide, high)
    image = _background(camera, ego.yaw, wide, high)

    cos, sin = math.cos(ego.yaw), math.sin(ego.yaw)
    to_ego = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    position = np.array([ego.x, ego.y, 0.0])
    corners = camera.to_optical((quads.corners - position) @ to_ego.T)
    slopes = np.array([0.5 * wide, 0.5 * high]) / matrix[0, 0]

    # In view: some corner is in front and not all of them are beyond one side of the pyramid.
    depth = corners[..., 2]
    reach = depth[..., None] * slopes
    inside = ((depth.max(axis=1) > _NEAR_M) & (depth.min(axis=1) < _FAR_M)
              & ~np.any(np.all(corners[..., :2] > reach, axis=1), axis=1)
              & ~np.any(np.all(corners[..., :2] < -reach, axis=1), axis=1))
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
    facing = np.einsum('ij,ij->i', normals, corners.mean(axis=1)) < 0.0
    chosen = np.flatnonzero(inside & (facing | (quads.layers < SOLID)))
    if not len(chosen):
        return _shrink(image, width, height)

    centres = camera.to_optical((quads.centres[chosen] - position) @ to_ego.T)
    distance = np.linalg.norm(centres, axis=1)
    order = np.lexsort((quads.parts[chosen], -distance, quads.layers[chosen]))
    # Haze after the middle of the visible part, so that no face jumps as the vehicle passes it.
    middle = np.linalg.norm(np.clip(corners[chosen].mean(axis=1), -_FAR_M, _FAR_M), axis=1)
    haze = (1.0 - np.exp(-middle / _HAZE_M))[:, None]
    colours = np.clip(quads.colours[chosen] * (1.0 - haze) + _SKY_LOW * haze, 0, 255)
    planes = np.array([[0.0, 0.0, 1.0], *([sx, 0.0, 3.0 * slopes[0]] for sx in (1.0, -1.0)),
                       *([0.0, sy, 3.0 * slopes[1]] for sy in (1.0, -1.0))])
    whole = ((corners[chosen] @ planes.T) >= _OFFSETS).all(axis=(1, 2))
    for i in order:
        polygon = corners[chosen[i]]
        if not whole[i]:
            polygon = _clip(polygon, planes)
            if len(polygon) < 3:
                continue
        pixels = polygon[:, :2] * (16 * matrix[0, 0] / polygon[:, 2:]) + 16 * matrix[:2, 2]
        cv2.fillConvexPoly(image, np.rint(pixels).astype(np.int32), colours[i].tolist(),
                           cv2.LINE_8, 4)
    return _shrink(image, width, height)


def _clip(polygon: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Cut a convex polygon (N, 3) to the near plane and a pyramid a little wider than the view."""
    for plane, offset in zip(planes, _OFFSETS, strict=True):
        side = polygon @ plane - offset
        kept = []
        for a, b, side_a, side_b in zip(polygon, np.roll(polygon, -1, axis=0), side,
                                        np.roll(side, -1), strict=True):
            if side_a >= 0.0:
                kept.append(a)
            if (side_a >= 0.0) != (side_b >= 0.0):
                kept.append(a + (b - a) * (side_a / (side_a - side_b)))
        polygon = np.asarray(kept).reshape(-1, 3)
        if len(polygon) < 3:
            break
    return polygon


def _background(camera: MountedCamera, yaw: float, width: int, height: int) -> np.ndarray:
    """Return sky, distant hills and meadow for a camera on a vehicle with that scene yaw."""
    focal = 0.5 * width / math.tan(math.radians(0.5 * camera.fov_deg))
    pitch = math.radians(camera.pitch_deg)
    slope = (np.arange(height) + 0.5 - 0.5 * height) / focal
    elevation = -np.arctan(slope) - pitch
    blend = np.clip(elevation / 0.7, 0.0, 1.0)[:, None]
    rows = _SKY_LOW * (1.0 - blend) + _SKY_HIGH * blend
    ground = np.clip(-elevation * 9.0, 0.0, 1.0)[:, None]
    rows = np.where(elevation[:, None] < 0.0, _SKY_LOW * (1 - ground) + _MEADOW * ground, rows)
    image = np.repeat(rows[:, None, :], width, axis=1)

    column = (np.arange(width) + 0.5 - 0.5 * width) / focal
    azimuth = yaw + math.radians(camera.yaw_deg) - np.arctan(column)
    ridge = 0.045 + 0.02 * np.sin(3.0 * azimuth + 1.0) + 0.012 * np.sin(11.0 * azimuth)
    # The horizon of a pitched pinhole bends with the column; hills stand on it.
    rise = np.arctan(np.tan(-pitch - np.arctan(slope))[:, None] / np.sqrt(1.0 + column ** 2))
    hills = (rise < ridge) & (rise >= 0.0)
    image[hills] = 0.45 * np.array([98.0, 122.0, 118.0]) + 0.55 * _SKY_LOW
    return np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))


def _shrink(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
