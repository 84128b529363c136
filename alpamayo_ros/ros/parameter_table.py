"""Every parameter of the node, once: name, default, description, range, read-only flag.

Declaration, validation, ``--help`` and the tests of ``config/planner.yaml`` all read this table.
No ROS here; ``parameters.py`` makes descriptors from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from alpamayo_ros.alignment import AlignmentSettings
from alpamayo_ros.cameras import CAMERAS, SIX_CAMERA_RIG
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.settings import REASONING_MODES, PlannerSettings, PlausibilityLimits

Value = bool | int | float | str | tuple[str, ...]

_INT64_MAX = 2 ** 63 - 1
_TYPE_NAMES = {bool: 'bool', int: 'integer', float: 'double', str: 'string',
               tuple: 'list of strings'}


class ParameterError(AlpamayoError, ValueError):
    """A parameter the node cannot work with; the message has its name, value and range."""


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter. ``low`` and ``high`` are inclusive; ``choices`` are the words it may hold
    (for a list: each of its entries, once); ``read_only`` ones are fixed when the node starts, the
    others can be set while it is unconfigured.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def expected(self) -> str:
        """Type and range in words."""
        text = _TYPE_NAMES[type(self.default)]
        if self.low is not None:
            text += f', {self.low} to {self.high}'
        if self.choices:
            text += ' of ' if isinstance(self.default, tuple) else ', one of '
            text += ', '.join(self.choices)
        return text

    def check(self, value: object) -> Value:
        """``value`` as this parameter holds it; ``ParameterError`` where it does not fit."""
        if isinstance(value, Iterable) and not isinstance(value, str):
            value = tuple(value)
        fits = type(value) is type(self.default)
        if fits and isinstance(value, tuple):
            fits = (0 < len(value) == len(set(value))
                    and all(isinstance(item, str) for item in value)
                    and (not self.choices or set(value) <= set(self.choices)))
        elif fits and self.choices:
            fits = value in self.choices
        elif fits and self.low is not None:
            fits = math.isfinite(value) and self.low <= value <= self.high
        if not fits:
            shown = list(value) if isinstance(value, tuple) else value
            raise ParameterError(f"parameter '{self.name}' is {shown!r}; expected {self.expected}")
        return value


_PLANNER = PlannerSettings()
_LIMITS = PlausibilityLimits()
_ALIGNMENT = AlignmentSettings()
_MOUNT = NOMINAL_RIG['front_wide']

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec('autostart', True, 'configure and activate without being asked, at the start',
                  read_only=True),
    ParameterSpec('checkpoint', '', 'directory of the checkpoint: config.json, tokenizer, weights'),
    ParameterSpec('device', 'cpu', 'where the model runs: cpu, cuda or cuda:N'),
    ParameterSpec('dtype', 'float32', 'type of weights and activations',
                  choices=('float32', 'bfloat16', 'float16')),
    ParameterSpec('expert.backend', 'torch', 'what runs the action expert; the one named here '
                  'runs, or configure fails'),
    ParameterSpec('expert.engine_dir', '', 'directory that alpamayo export or build-engine wrote, '
                  'for the backends that run an engine'),
    ParameterSpec('model.cpu_threads', 0, 'threads of the model on the CPU; 0 leaves the default',
                  0, 256),
    ParameterSpec('decode_threads', 2, 'threads that decode and prepare arriving images', 1, 16),

    ParameterSpec('cameras', SIX_CAMERA_RIG, 'cameras of the rig, each subscribed at '
                  '~/input/<camera>/image', choices=tuple(camera.name for camera in CAMERAS)),
    ParameterSpec('image_transport', 'compressed', 'compressed: ~/input/<camera>/image/compressed '
                  'as CompressedImage; raw: ~/input/<camera>/image as Image',
                  choices=('compressed', 'raw')),
    ParameterSpec('odometry_frame', 'odom', 'header.frame_id the odometry must have'),
    ParameterSpec('base_frame', 'base_link', 'child_frame_id the odometry must have'),
    ParameterSpec('output_frame', 'odometry', 'frame of the published paths: odometry (the frame '
                  'of the odometry messages) or base_link (base_frame at t0)',
                  choices=('odometry', 'base_link')),

    ParameterSpec('num_candidates', _PLANNER.num_candidates, 'trajectories a plan', 1, 1024),
    ParameterSpec('reasoning_mode', _PLANNER.reasoning_mode, 'single: one reasoning for all '
                  'candidates; multi: one for each', choices=REASONING_MODES),
    ParameterSpec('temperature', _PLANNER.temperature, 'sampling temperature of the reasoning',
                  0.01, 10.0),
    ParameterSpec('top_p', _PLANNER.top_p, 'nucleus sampling of the reasoning', 0.01, 1.0),
    ParameterSpec('top_k', _PLANNER.top_k or 0, 'most likely tokens sampled from; 1 is greedy, 0 '
                  'is off', 0, 200000),
    ParameterSpec('max_generation_length', _PLANNER.max_generation_length,
                  'tokens a reasoning may have', 1, 8192),
    ParameterSpec('guidance_weight', _PLANNER.guidance_weight, 'navigation guidance of '
                  'alpamayo1_5; 0 is off', 0.0, 20.0),
    ParameterSpec('num_inference_steps', _PLANNER.num_inference_steps or 0, 'Euler steps of the '
                  "flow; 0 takes the checkpoint's", 0, 1000),
    ParameterSpec('min_pixels', _PLANNER.min_pixels or 0, "least pixels of a prepared image; 0 "
                  "takes the checkpoint's", 0, 2 ** 26),
    ParameterSpec('max_pixels', _PLANNER.max_pixels or 0, "most pixels of a prepared image; 0 "
                  "takes the checkpoint's", 0, 2 ** 26),
    ParameterSpec('seed', _PLANNER.seed, 'every plan is drawn from this seed', 0, _INT64_MAX),

    ParameterSpec('limits.max_start_offset_m', _LIMITS.max_start_offset_m, 'how far beyond one '
                  'step at the current speed a path may start, m', 0.01, 1000.0),
    ParameterSpec('limits.max_backward_m', _LIMITS.max_backward_m,
                  'how far a path may run backwards in all, m', 0.01, 1000.0),
    ParameterSpec('limits.max_accel_mps2', _LIMITS.max_accel_mps2,
                  'acceleration a path may have, m/s^2', 0.1, 1000.0),
    ParameterSpec('limits.max_decel_mps2', _LIMITS.max_decel_mps2,
                  'deceleration a path may have, as a positive number, m/s^2', 0.1, 1000.0),
    ParameterSpec('limits.max_curvature_1pm', _LIMITS.max_curvature_1pm,
                  'curvature a path may have, 1/m', 0.001, 100.0),
    ParameterSpec('limits.max_lateral_accel_mps2', _LIMITS.max_lateral_accel_mps2,
                  'lateral acceleration a path may have, m/s^2', 0.1, 1000.0),

    ParameterSpec('alignment.frames_per_camera', _ALIGNMENT.frames_per_camera,
                  'frames of each camera a plan is made from, 0.1 s apart', 1, 16),
    ParameterSpec('alignment.frame_tolerance_s', _ALIGNMENT.frame_tolerance_s,
                  'how far a frame may be from the time it stands for, s', 0.001, 0.099),
    ParameterSpec('alignment.odometry_max_gap_s', _ALIGNMENT.odometry_max_gap_s,
                  'longest gap in the odometry that is interpolated over, s', 0.01, 2.0),
    ParameterSpec('alignment.stall_s', _ALIGNMENT.stall_s, 'how far one stream may fall behind '
                  'the others before it counts as stopped, s', 0.05, 10.0),
    ParameterSpec('alignment.max_speed_mps', _ALIGNMENT.max_speed_mps,
                  'speed above which the odometry is not believed, m/s', 1.0, 200.0),
    ParameterSpec('alignment.max_speed_disagreement_mps', _ALIGNMENT.max_speed_disagreement_mps,
                  'how far the speed from poses may be from the one of the twist, m/s',
                  0.01, 100.0),
    ParameterSpec('alignment.max_speed_disagreement_ratio',
                  _ALIGNMENT.max_speed_disagreement_ratio,
                  'the same as a share of the speed; the larger bound holds', 0.0, 1.0),
    ParameterSpec('alignment.max_yaw_rate_disagreement_radps',
                  _ALIGNMENT.max_yaw_rate_disagreement_radps,
                  'how far the yaw rate from poses may be from the one of the twist, rad/s',
                  0.001, 10.0),

    ParameterSpec('plan_period_s', 0.1, 'least time between the t0 of two plans, s', 0.1, 60.0),
    ParameterSpec('max_input_age_s', 0.5, 'a stream silent for longer, or a t0 further behind the '
                  'clock when planning starts, is stale: no plan, s', 0.05, 60.0),
    ParameterSpec('max_plan_age_s', 2.0, 'a plan whose t0 is further behind the clock when it is '
                  'ready is late and not published, s', 0.1, 600.0),

    ParameterSpec('publish_overlay', False, 'publish ~/output/overlay/compressed: the view of '
                  'front_wide with the candidates drawn in'),
    ParameterSpec('rig_file', '', 'rig file (as config/rig.yaml) with front_wide, for the overlay; '
                  'without one ~/input/front_wide/camera_info and front_wide_mount tell'),
    ParameterSpec('front_wide_mount.x_m', _MOUNT.xyz[0], 'front_wide ahead of the rear axle, m '
                  '(overlay)', -20.0, 20.0),
    ParameterSpec('front_wide_mount.y_m', _MOUNT.xyz[1], 'front_wide to the left of the middle, m '
                  '(overlay)', -5.0, 5.0),
    ParameterSpec('front_wide_mount.z_m', _MOUNT.xyz[2], 'front_wide above the ground, m (overlay)',
                  0.0, 10.0),
    ParameterSpec('front_wide_mount.yaw_deg', _MOUNT.yaw_deg, 'where front_wide looks, positive to '
                  'the left, degrees (overlay)', -180.0, 180.0),
    ParameterSpec('front_wide_mount.pitch_deg', _MOUNT.pitch_deg, 'how far front_wide looks down, '
                  'degrees (overlay)', -90.0, 90.0),
    ParameterSpec('front_wide_mount.roll_deg', 0.0, 'roll of front_wide about its view, positive '
                  'lowers the right side, degrees (overlay)', -180.0, 180.0),

    ParameterSpec('footprint.front_m', 3.9, 'rear axle to front bumper, m (markers)', 0.1, 30.0),
    ParameterSpec('footprint.rear_m', 1.0, 'rear axle to rear bumper, m (markers)', 0.0, 30.0),
    ParameterSpec('footprint.width_m', 1.9, 'width of the vehicle, m (markers)', 0.1, 10.0),
)

BY_NAME = {spec.name: spec for spec in PARAMETERS}
