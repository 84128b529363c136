"""Streams of six cameras and odometry for the tests of alignment and of the ego history."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from alpamayo_ros.alignment import AlignmentSettings, Refusal, align
from alpamayo_ros.buffers import FrameBuffer, OdometryBuffer
from alpamayo_ros.cameras import SIX_CAMERA_RIG, camera_by_name
from alpamayo_ros.types import CameraFrame, EgoState, ImagePatches, Observation

MS = 10 ** 6
START = 1_700_000_000_000 * MS  # a multiple of the grid
SETTINGS = AlignmentSettings()
PHASES_MS = dict(zip(SIX_CAMERA_RIG, (0, 17, 33, 50, 66, 91), strict=True))

Pose = Callable[[float], tuple[float, float, float]]


def constant_speed(speed: float) -> Pose:
    return lambda t: (speed * t, 0.0, 0.0)


class Drive:
    """Streams in milliseconds after START that can be fed up to an instant or by arrival."""

    def __init__(self, settings: AlignmentSettings = SETTINGS) -> None:
        self.settings = settings
        self.frames = {name: FrameBuffer(camera_by_name(name), settings.frame_horizon_ns)
                       for name in settings.camera_names}
        self.odometry = OdometryBuffer(settings.odometry_horizon_ns)

    def camera(self, name: str, stamps_ms: Iterable[float]) -> None:
        buffer = self.frames[name]
        for stamp in stamps_ms:
            buffer.add(CameraFrame(buffer.camera.camera_id, START + round(stamp * MS),
                                   ImagePatches(None, (1, 2, 2), (1080, 1920))))

    def ego(self, stamps_ms: Iterable[float], pose: Pose | None = None, **twist) -> None:
        for stamp in stamps_ms:
            self.odometry.add(ego_state(stamp, pose or constant_speed(5.0), **twist))

    def align(self, **options) -> Observation | Refusal:
        return align(self.frames, self.odometry, self.settings, **options)


def ego_state(stamp_ms: float, pose: Pose, *, speed: float | None = None,
              yaw_rate: float | None = None, velocity: np.ndarray | None = None) -> EgoState:
    """A state on the way ``pose`` (s -> x, y, yaw) describes, with its true twist or another."""
    t = stamp_ms / 1e3
    x, y, yaw = pose(t)
    vx, vy, rate = (np.array(pose(t + 1e-4)) - pose(t - 1e-4)) / 2e-4
    if velocity is None:
        velocity = (np.array([vx * np.cos(yaw) + vy * np.sin(yaw),
                              vy * np.cos(yaw) - vx * np.sin(yaw), 0.0])
                    if speed is None else np.array([speed, 0.0, 0.0]))
    return EgoState(START + round(stamp_ms * MS), np.array([x, y, 0.4]),
                    np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]), velocity,
                    np.array([0.0, 0.0, rate if yaw_rate is None else yaw_rate]))


def every(period_ms: float, first: float, last: float) -> np.ndarray:
    return np.arange(first, last + 1e-6, period_ms)


def standard(until_ms: float = 3000.0, **ego) -> Drive:
    """Six cameras at 10 Hz out of phase and odometry at 50 Hz."""
    drive = Drive()
    for name, phase in PHASES_MS.items():
        drive.camera(name, every(100, phase, until_ms))
    drive.ego(every(20, 0, until_ms), **ego)
    return drive


def after_start(t0_ns: int | None) -> float:
    return (t0_ns - START) / MS


def refused(result: Observation | Refusal) -> Refusal:
    assert isinstance(result, Refusal), f'a window at {after_start(result.t0_ns)} ms'
    return result


def planned(result: Observation | Refusal) -> Observation:
    assert isinstance(result, Observation), result
    return result
