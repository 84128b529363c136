"""What flows through the planner: frozen values with shapes, units and frames.

Times are integer nanoseconds on the clock of the message stamps. Lengths are metres, angles
radians, frames follow REP-103 and REP-105. The ego frame is ``base_link`` at t0: x forward,
y left, z up, origin at the rear axle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

HISTORY_STEPS = 16
"""Ego poses the model sees: t0 - 1.5 s ... t0."""
HISTORY_DT_NS = 100_000_000
"""Spacing of the ego history and of the frames of one camera, nanoseconds."""


@dataclass(frozen=True)
class ImagePatches:
    """One image after resizing, normalising and cutting into patches.

    ``pixel_values``: (patches, channels * temporal * patch * patch), the vision tower's input, in
    the order its 2 x 2 merging expects; ``grid_thw``: (1, rows, columns) of patches;
    ``source_size``: (height, width) in pixels before resizing.
    """

    pixel_values: torch.Tensor
    grid_thw: tuple[int, int, int]
    source_size: tuple[int, int]


@dataclass(frozen=True)
class CameraFrame:
    """A camera image made ready for the model once, on arrival.

    ``stamp_ns`` is the exposure time from the message header. ``preview`` is an optional small
    RGB uint8 (H, W, 3) picture for people; the model never reads it.
    """

    camera_id: int
    stamp_ns: int
    patches: ImagePatches
    preview: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class EgoState:
    """The vehicle's pose in the odometry frame at one instant, and its twist in the body frame.

    ``position``: (3,) m; ``orientation``: (4,) unit quaternion x, y, z, w; ``linear_velocity``:
    (3,) m/s and ``angular_velocity``: (3,) rad/s, both in the body frame, as nav_msgs/Odometry
    gives them.
    """

    stamp_ns: int
    position: np.ndarray
    orientation: np.ndarray
    linear_velocity: np.ndarray
    angular_velocity: np.ndarray


@dataclass(frozen=True)
class Observation:
    """Everything one plan is made from.

    ``frames``: one tuple a camera, cameras by ascending id, frames oldest first.
    ``history_xyz``: (16, 3) float64 m and ``history_rot``: (16, 3, 3) float64, the ego poses at
    t0 - 1.5 s ... t0 in the ego frame at t0, oldest first; the last one is the identity.
    ``pose_at_t0``: the pose at t0 in the odometry frame, None where there is none (golden cases).
    ``navigation``: an instruction such as "Turn left in 30m", or None.
    """

    t0_ns: int
    frames: tuple[tuple[CameraFrame, ...], ...]
    history_xyz: np.ndarray
    history_rot: np.ndarray
    pose_at_t0: EgoState | None = None
    navigation: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One candidate trajectory, in the ego frame at t0.

    ``sample``: its index in sampling order; ``reasoning``: index into ``Plan.reasoning``.
    ``xyz``: (waypoints, 3) float64 m, ``rot``: (waypoints, 3, 3), ``action``: (waypoints, 2), the
    normalised (acceleration, curvature) the model gave. Waypoint k is at t0 + (k + 1) dt.
    ``score``: mean distance to the medoid, m (0 for the medoid itself); ``reasons``: why it is
    implausible, empty for a plausible one.
    """

    sample: int
    reasoning: int
    xyz: np.ndarray
    rot: np.ndarray
    action: np.ndarray
    score: float = 0.0
    reasons: tuple[str, ...] = ()

    @property
    def plausible(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Reasoning:
    """What the VLM wrote: the chain of causation and the other text fields (empty when absent).

    ``token_count``: tokens generated; ``truncated``: the length limit ended it, not the model.
    """

    cot: str
    meta_action: str
    answer: str
    token_count: int
    truncated: bool


@dataclass(frozen=True)
class Plan:
    """The result: reasoning and ranked candidates, best first, implausible ones last.

    ``dt_s``: time between waypoints, s. ``v0``: the speed at t0 estimated from the history, m/s.
    ``timings_ms``: milliseconds per stage, in order of execution. ``warnings``: sentences for
    logs and diagnostics, such as a reasoning cut at its limit.
    """

    t0_ns: int
    dt_s: float
    v0: float
    reasoning: tuple[Reasoning, ...]
    candidates: tuple[Candidate, ...]
    seed: int
    reasoning_mode: str
    timings_ms: dict[str, float]
    warnings: tuple[str, ...] = ()

    @property
    def selected(self) -> Candidate | None:
        """The best candidate, or None when every one of them is implausible."""
        best = self.candidates[0]
        return best if best.plausible else None
