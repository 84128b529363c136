"""What is kept of one instant: a line of plans.jsonl and an npz file, and a plan made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.cameras import camera_by_id
from alpamayo_ros.types import Candidate, EgoState, Observation, Plan, Reasoning

PLANNED, REFUSED, IMPLAUSIBLE = 'planned', 'refused', 'implausible'
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Record:
    """One instant.

    ``line``: as in plans.jsonl, JSON values only, see ``plan_record`` and ``refusal_record``.
    ``arrays``: as in the npz file, empty for a refused one.
    """

    line: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def t0_ns(self) -> int:
        return self.line['t0_ns']

    @property
    def status(self) -> str:
        return self.line['status']


def refusal_record(t0_ns: int, stream: str, reason: str) -> Record:
    """The record of an instant that no window could be filled for, or whose plan failed."""
    return Record({'t0_ns': t0_ns, 'status': REFUSED, 'stream': stream, 'reason': reason,
                   'sequence': None, 'v0': None, 'navigation': None, 'reasoning': [],
                   'sample_order': [], 'plausible': [], 'reasons': [], 'metrics': {},
                   'timings_ms': {}, 'input_age_ms': None, 'arrays': None})


def plan_record(plan: Plan, observation: Observation, future_xyz: np.ndarray, *,
                problem: str | None, sequence: int | None, published_ns: int,
                input_age_ms: float, timings_ms: Mapping[str, float]) -> Record:
    """The record of a plan, without its metrics.

    ``future_xyz``: (T, 3) m, the drive's own future in the ego frame at t0. ``problem``: why it
    would not have been published, None for one that was. ``published_ns``: recording time at which
    its window was full. Everything that is listed by candidate is best first.
    """
    pose, best_first = observation.pose_at_t0, plan.candidates
    rotations = np.stack([candidate.rot for candidate in best_first])
    line = {
        't0_ns': plan.t0_ns, 'status': PLANNED if problem is None else IMPLAUSIBLE,
        'stream': None, 'reason': problem, 'sequence': sequence, 'v0': plan.v0,
        'navigation': observation.navigation,
        'reasoning': [item.cot for item in plan.reasoning],
        'sample_order': [candidate.sample for candidate in best_first],
        'plausible': [candidate.plausible for candidate in best_first],
        'reasons': [list(candidate.reasons) for candidate in best_first],
        'metrics': {}, 'timings_ms': {name: round(ms, 4) for name, ms in timings_ms.items()},
        'input_age_ms': input_age_ms, 'arrays': None,
        'published_ns': published_ns, 'seed': plan.seed, 'reasoning_mode': plan.reasoning_mode,
        'reasoning_of': [candidate.reasoning for candidate in best_first],
        'reasoning_tokens': [item.token_count for item in plan.reasoning],
        'reasoning_truncated': [item.truncated for item in plan.reasoning],
        'scores': [float(s) if np.isfinite(s) else None
                   for s in (candidate.score for candidate in best_first)],
        'dt_s': plan.dt_s, 'warnings': list(plan.warnings)}
    arrays = {
        'history_xyz': np.asarray(observation.history_xyz, np.float64), 'future_xyz': future_xyz,
        'candidates_xyz': np.stack([candidate.xyz for candidate in best_first]),
        'candidates_yaw': np.arctan2(rotations[..., 1, 0], rotations[..., 0, 0]),
        'candidates_rot': rotations,
        'actions': np.stack([candidate.action for candidate in best_first]),
        'plausible': np.array(line['plausible']),
        'pose_at_t0': np.concatenate([pose.position, pose.orientation])}
    for frames in observation.frames:
        if frames[-1].preview is not None:
            arrays[f'view_{camera_by_id(frames[-1].camera_id).name}'] = jpeg(frames[-1].preview)
    return Record(line, arrays)


def plan_of(record: Record) -> tuple[Plan, EgoState]:
    """The plan of a record that is not refused, and the pose at its t0, as they were."""
    line, arrays = record.line, record.arrays
    scores = [np.inf if score is None else score for score in line['scores']]
    candidates = tuple(
        Candidate(sample, reasoning, xyz, rot, action, score, tuple(reasons))
        for sample, reasoning, xyz, rot, action, score, reasons in zip(
            line['sample_order'], line['reasoning_of'], arrays['candidates_xyz'],
            arrays['candidates_rot'], arrays['actions'], scores, line['reasons'], strict=True))
    reasoning = tuple(
        Reasoning(text, '', '', tokens, cut) for text, tokens, cut in zip(
            line['reasoning'], line['reasoning_tokens'], line['reasoning_truncated'], strict=True))
    pose = arrays['pose_at_t0']
    return Plan(
        t0_ns=line['t0_ns'], dt_s=line['dt_s'], v0=line['v0'], reasoning=reasoning,
        candidates=candidates, seed=line['seed'], reasoning_mode=line['reasoning_mode'],
        timings_ms=line['timings_ms'], warnings=tuple(line['warnings'])), EgoState(
        line['t0_ns'], pose[:3], pose[3:], np.zeros(3), np.zeros(3))


def jpeg(rgb: np.ndarray) -> np.ndarray:
    """The bytes of a picture as JPEG, uint8 (K,)."""
    ok, data = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                            [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise ValueError(f'a picture of shape {rgb.shape} could not be encoded as JPEG')
    return data.ravel()
