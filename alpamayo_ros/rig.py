"""Where the six cameras sit on the nominal vehicle and how they see: pinhole geometry, free of ROS.

The ego frame is ``base_link``: x forward, y left, z up, origin on the ground beneath the rear
axle. The optical frame of a camera is x right, y down, z along the view (REP-103).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.cameras import camera_by_name


@dataclass(frozen=True)
class MountedCamera:
    """A pinhole camera on the vehicle.

    ``xyz``: its optical centre in the ego frame, m. ``yaw_deg``: where it looks, 0 ahead,
    positive to the left. ``pitch_deg``: how far it looks down, positive towards the ground.
    """

    name: str
    xyz: tuple[float, float, float]
    yaw_deg: float
    pitch_deg: float = 0.0

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view in degrees, that of the model's camera of this name."""
        return camera_by_name(self.name).fov_deg

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3): ego axes to optical axes."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        forward = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch),
                            -math.sin(pitch)])
        right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
        return np.stack([right, np.cross(forward, right), forward])

    def intrinsics(self, width: int, height: int) -> np.ndarray:
        """Return the (3, 3) camera matrix for an image of that size, in pixels."""
        focal = 0.5 * width / math.tan(math.radians(0.5 * self.fov_deg))
        return np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])

    def to_optical(self, points: np.ndarray) -> np.ndarray:
        """Turn ego points (..., 3) m into optical-frame points (..., 3) m."""
        return (np.asarray(points, dtype=np.float64) - np.array(self.xyz)) @ self.rotation.T

    def project(self, points: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Project ego points (N, 3) m: pixels (N, 2) and depth (N,) m along the view.

        Pixels of points that are not in front of the camera (depth <= 0.05 m) are NaN.
        """
        optical = self.to_optical(points)
        depth = optical[:, 2]
        pixels = np.full((len(optical), 2), np.nan)
        seen = depth > 0.05
        matrix = self.intrinsics(width, height)
        pixels[seen] = (optical[seen, :2] / depth[seen, None] * matrix[0, 0] + matrix[:2, 2])
        return pixels, depth


NOMINAL_RIG: dict[str, MountedCamera] = {camera.name: camera for camera in (
    MountedCamera('cross_left', (2.1, 0.95, 1.15), 57.0, 4.0),
    MountedCamera('front_wide', (1.75, 0.05, 1.48), 0.0, 4.0),
    MountedCamera('cross_right', (2.1, -0.95, 1.15), -57.0, 4.0),
    MountedCamera('rear_left', (1.9, 1.0, 1.1), 150.0, 3.0),
    MountedCamera('rear_right', (1.9, -1.0, 1.1), -150.0, 3.0),
    MountedCamera('front_tele', (1.75, -0.05, 1.48), 0.0, 1.0),
)}
"""The rig of the driving world and of the drive in ``resource/demo_drive``."""

FOOTPRINT_M = (-0.95, 3.85, 0.95)
"""The nominal vehicle from above in the ego frame, m: rear bumper x, front bumper x, half width."""
