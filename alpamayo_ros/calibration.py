"""Calibrated cameras: from points in the ego frame to pixels, and the rig file that says where they
sit.

The ego frame is ``base_link`` (x forward, y left, z up, m), the optical frame of a camera x right,
y down, z along the view. Distortion models have the names and the coefficients in the order of
``sensor_msgs/CameraInfo``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.rig import FOOTPRINT_M, MountedCamera

COEFFICIENTS = {'plumb_bob': 5, 'rational_polynomial': 8, 'equidistant': 4}
"""Distortion models and how many coefficients each has; an empty list means none is distorted."""

_NEAR_M = 0.05
_MARGIN = 1.0
_REFINEMENTS, _PARTS = 3, 64


class CalibrationError(AlpamayoError):
    """A calibration or a rig file that cannot be read or makes no sense."""


@dataclass(frozen=True)
class CameraModel:
    """A camera whose calibration and place on the vehicle are known.

    ``width``, ``height``: of its image, px. ``matrix``: (3, 3), px. ``distortion_model``: one of
    ``COEFFICIENTS``; ``distortion``: its coefficients, zeros for a rectified image. ``position``:
    (3,) m, the optical centre in the ego frame. ``rotation``: (3, 3), ego axes to optical axes.
    """

    name: str
    width: int
    height: int
    matrix: np.ndarray
    position: np.ndarray
    rotation: np.ndarray
    distortion_model: str = 'plumb_bob'
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))

    @staticmethod
    def from_mounted(camera: MountedCamera, width: int, height: int) -> CameraModel:
        """Return the model of a camera of the nominal rig for an image of that size, px."""
        return CameraModel(camera.name, width, height, camera.intrinsics(width, height),
                           np.array(camera.xyz, np.float64), camera.rotation)

    def resized(self, width: int, height: int) -> CameraModel:
        """Return the model of the same view scaled to another size, px."""
        scale = np.array([[width / self.width], [height / self.height], [1.0]])
        return replace(self, width=width, height=height, matrix=self.matrix * scale)

    @cached_property
    def largest_angle(self) -> float:
        """How far from the optical axis the distortion still makes sense, rad.

        Beyond it the polynomial folds back, and points would appear inside the image that the
        camera does not see.
        """
        end = 0.99 * (np.pi if self.distortion_model == 'equidistant' else np.pi / 2)
        angles = np.linspace(0.0, end, 4096)
        with np.errstate(all='ignore'):
            growing = np.diff(self._radius(angles)) > 0
        return float(angles[len(growing) if growing.all() else int(np.argmin(growing))])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project ego points (..., 3) m to pixels (..., 2); NaN where the camera cannot see them.

        That is behind it, or beyond ``largest_angle``. Pixels may lie outside the image.
        """
        optical = (np.asarray(points, np.float64) - self.position) @ self.rotation.T
        across = np.hypot(optical[..., 0], optical[..., 1])
        angle = np.arctan2(across, optical[..., 2])
        distance = np.linalg.norm(optical, axis=-1)
        in_front = (optical[..., 2] > _NEAR_M) | (
            (self.distortion_model == 'equidistant') & (distance > _NEAR_M))
        seen = in_front & (angle < self.largest_angle)
        angle = np.where(seen, angle, 0.0)
        direction = optical[..., :2] / np.maximum(across, 1e-12)[..., None]
        flat = direction * self._radius(angle)[..., None]
        if self.distortion_model != 'equidistant' and self.distortion[2:4].any():
            flat = flat + self._tangential(direction * np.tan(angle)[..., None])
        pixels = flat @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        return np.where(seen[..., None], pixels, np.nan)

    def visible_runs(self, sections: np.ndarray) -> list[np.ndarray]:
        """Project a line or band and cut it where it leaves what can be drawn.

        ``sections``: (S, m, 3) m in the ego frame, m points abreast at each of S places along the
        way (m is 1 for a line, 2 for the edges of a band), close together. Returns the visible
        pieces, (K, m, 2) px each: in front of the camera, within the distortion's range, and not
        more than one image size outside the image. An end that is inside the image is cut exactly.
        """
        sections = np.asarray(sections, np.float64)
        sections = sections[np.isfinite(sections).all(axis=(1, 2))]
        pixels = self.project(sections)
        drawable, shown = self._drawable(pixels), self._drawable(pixels, margin=0.0)
        runs, run = [], []
        for index, pixel in enumerate(pixels):
            if index and drawable[index] != drawable[index - 1]:
                outside, inside = sorted((index - 1, index), key=lambda place: drawable[place])
                if shown[inside]:
                    run.append(self.project(self._edge(sections[inside], sections[outside])))
            if drawable[index]:
                run.append(pixel)
            elif run:
                runs.append(run)
                run = []
        if run:
            runs.append(run)
        return [np.stack(run) for run in runs if len(run) > 1]

    def _edge(self, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """The last drawable section on the way from one to the other."""
        for _ in range(_REFINEMENTS):
            ways = np.linspace(0.0, 1.0, _PARTS + 1)[:, None, None]
            between = inside + ways * (outside - inside)
            # The first is drawable and the last is not.
            last = int(np.argmin(self._drawable(self.project(between)))) - 1
            inside, outside = between[last], between[last + 1]
        return inside

    def _drawable(self, pixels: np.ndarray, margin: float = _MARGIN) -> np.ndarray:
        size = np.array([self.width, self.height])
        with np.errstate(invalid='ignore'):
            near = (pixels >= -margin * size) & (pixels <= (1.0 + margin) * size)
        return near.all(axis=(1, 2))

    def _radius(self, angle: np.ndarray) -> np.ndarray:
        """Distance from the image centre at focal length 1 for an angle from the axis, rad."""
        if self.distortion_model == 'equidistant':
            k1, k2, k3, k4 = self.distortion
            square = angle ** 2
            return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        radius = np.tan(angle)
        square = radius ** 2
        k1, k2, _, _, k3 = self.distortion[:5]
        factor = 1 + square * (k1 + square * (k2 + square * k3))
        if self.distortion_model == 'rational_polynomial':
            k4, k5, k6 = self.distortion[5:]
            below = 1 + square * (k4 + square * (k5 + square * k6))
            # Where the denominator has passed zero there is no image any more.
            factor = np.where(below > 0, factor / below, -np.inf)
        return radius * factor

    def _tangential(self, flat: np.ndarray) -> np.ndarray:
        p1, p2 = self.distortion[2:4]
        x, y = flat[..., 0], flat[..., 1]
        square = x ** 2 + y ** 2
        return np.stack([2 * p1 * x * y + p2 * (square + 2 * x ** 2),
                         p1 * (square + 2 * y ** 2) + 2 * p2 * x * y], axis=-1)


@dataclass(frozen=True)
class Rig:
    """The cameras of a vehicle and its outline.

    ``footprint``: rear bumper x, front bumper x, half the width, m in the ego frame.
    """

    cameras: Mapping[str, CameraModel]
    footprint: tuple[float, float, float] = FOOTPRINT_M


def load_rig(path: Path) -> Rig:
    """Read a rig file such as ``config/rig.yaml``; ``CalibrationError`` says what is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CalibrationError(f"rig file '{path}' cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get('cameras'), dict):
        raise CalibrationError(f"rig file '{path}' has no 'cameras'; expected one entry a camera")
    cameras = {str(name): read_camera(str(name), entry, f"rig file '{path}'")
               for name, entry in content['cameras'].items()}
    outline = content.get('footprint_m')
    if outline is None:
        return Rig(cameras)
    where = f"rig file '{path}'"
    if not isinstance(outline, dict):
        raise CalibrationError(f'{where}: footprint_m is {outline!r}; expected rear, front, width')
    rear, front, width = (_numbers(outline, key, 1, f'{where}: footprint_m')[0]
                          for key in ('rear', 'front', 'width'))
    if not (rear < front and width > 0):
        raise CalibrationError(f'{where}: footprint_m is {outline}; expected rear < front and a '
                               'width above 0')
    return Rig(cameras, (float(rear), float(front), float(width) / 2))


def read_camera(name: str, entry: Any, where: str) -> CameraModel:
    """Return the camera that a mapping describes, as in a rig file or a run's calibration.

    ``where`` begins the message of the ``CalibrationError`` for an entry that cannot be used.
    """
    where = f"{where}: camera '{name}'"
    if not isinstance(entry, Mapping):
        raise CalibrationError(f'{where} is {entry!r}; expected a mapping')
    width, height = (int(value) for value in _numbers(entry, 'size_px', 2, where))
    if min(width, height) < 1:
        raise CalibrationError(f'{where}: size_px is {[width, height]}; expected above 0')
    model = entry.get('distortion_model') or 'plumb_bob'
    if model not in COEFFICIENTS:
        raise CalibrationError(f"{where}: distortion_model is '{model}'; expected one of "
                               + ', '.join(COEFFICIENTS))
    return CameraModel(
        name, width, height, _matrix(entry, width, height, where),
        _numbers(entry, 'position_m', 3, where), _rotation(entry, where), model,
        _coefficients(entry, model, where))


def cameras_of_run(calibration: Mapping[str, Any], rig: Rig | None) -> dict[str, CameraModel]:
    """Return the cameras that can be drawn into, by name.

    ``calibration``: what was recorded with a drive, one mapping a camera; its intrinsics count.
    One without a place on the vehicle takes that of the ``rig``; a camera that is in neither with
    a place is left out. ``CalibrationError`` for a value that makes no sense.
    """
    cameras = dict(rig.cameras) if rig else {}
    for name, entry in calibration.items():
        if not isinstance(entry, Mapping):
            raise CalibrationError(f"calibration of camera '{name}' is {entry!r}; expected a "
                                   'mapping')
        entry = dict(entry)
        # What a camera driver publishes that has not been calibrated.
        if 'k' in entry and not np.any(entry['k']):
            continue
        if 'position_m' not in entry:
            if name not in cameras:
                continue
            placed = cameras[name]
            entry |= {'position_m': placed.position.tolist(), 'orientation_xyzw':
                      Rotation.from_matrix(placed.rotation.T).as_quat().tolist()}
        cameras[name] = read_camera(name, entry, 'calibration of the run')
    return cameras


def _matrix(entry: Mapping, width: int, height: int, where: str) -> np.ndarray:
    if ('k' in entry) == ('fov_deg' in entry):
        raise CalibrationError(f'{where} has k and fov_deg or neither; expected one of them')
    if 'k' in entry:
        matrix = _numbers(entry, 'k', 9, where).reshape(3, 3)
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or matrix[2].tolist() != [0, 0, 1]:
            raise CalibrationError(f'{where}: k is {entry["k"]}; expected [fx, 0, cx, 0, fy, cy, '
                                   '0, 0, 1] with focal lengths above 0')
        return matrix
    fov = _numbers(entry, 'fov_deg', 1, where)[0]
    if not 0 < fov < 175:
        raise CalibrationError(f'{where}: fov_deg is {fov}; expected above 0 and below 175')
    focal = 0.5 * width / np.tan(np.radians(0.5 * fov))
    return np.array([[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1.0]])


def _rotation(entry: Mapping, where: str) -> np.ndarray:
    if 'orientation_xyzw' in entry:
        quaternion = _numbers(entry, 'orientation_xyzw', 4, where)
        if abs(np.linalg.norm(quaternion) - 1.0) > 1e-3:
            raise CalibrationError(f'{where}: orientation_xyzw is {quaternion.tolist()}; expected '
                                   'a unit quaternion')
        return Rotation.from_quat(quaternion).as_matrix().T
    angles = [_numbers(entry, key, 1, where)[0] if key in entry else 0.0
              for key in ('yaw_deg', 'pitch_deg', 'roll_deg')]
    # Columns: right, down and along the view of a camera that looks ahead, in ego axes.
    ahead = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    return (Rotation.from_euler('ZYX', angles, degrees=True).as_matrix() @ ahead).T


def _coefficients(entry: Mapping, model: str, where: str) -> np.ndarray:
    given, count = entry.get('d'), COEFFICIENTS[model]
    if given is None or len(np.atleast_1d(given)) == 0:
        return np.zeros(count)
    # k3 may be left out, as OpenCV does.
    if model == 'plumb_bob' and np.shape(given) == (4,):
        given = [*given, 0.0]
    return _numbers({'d': given}, 'd', count, where)


def _numbers(entry: Mapping, key: str, count: int, where: str) -> np.ndarray:
    if key not in entry:
        raise CalibrationError(f'{where} has no {key}; expected {count} number'
                               + 's' * (count > 1))
    try:
        values = np.atleast_1d(np.array(entry[key], np.float64))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise CalibrationError(f'{where}: {key} is {entry[key]!r}; expected {count} number'
                               + 's' * (count > 1))
    return values
