"""Run folders of a replay, made up but written by the replay's own writer."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from alpamayo_ros.cameras import SIX_CAMERA_RIG
from alpamayo_ros.replay.folder import RunFolder
from alpamayo_ros.replay.record import Record, refusal_record

START_NS = 1_712_345_678_037_000_000
DT_S = 0.1
WAYPOINTS = 64


def arc(curvature: float, speed: float, steps: int = WAYPOINTS, first: int = 1) -> np.ndarray:
    """Positions (steps, 3) m on an arc, the first after ``first`` steps of 0.1 s."""
    along = speed * DT_S * np.arange(first, first + steps)
    if abs(curvature) < 1e-9:
        return np.stack([along, 0 * along, 0 * along], axis=1)
    turn = along * curvature
    return np.stack([np.sin(turn) / curvature, (1 - np.cos(turn)) / curvature, 0 * along], axis=1)


def picture(index: int, name: str, width: int = 640, height: int = 360) -> np.ndarray:
    """A street of sorts, as JPEG bytes (K,) uint8."""
    image = np.full((height, width, 3), (120, 110, 100), np.uint8)
    image[:height // 2] = (225, 190, 150)
    cv2.putText(image, f'{name} {index}', (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (30, 30, 30), 2)
    return cv2.imencode('.jpg', image)[1].ravel()


def arrays(index: int, *, candidates: int, bias: float, bad: int, known_s: float,
           cameras: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What the npz file of a plan holds; the last ``bad`` candidates are not plausible."""
    speed, curvature = 8.0 + math.sin(index / 3), 0.02 * math.sin(index / 4)
    spread = np.concatenate([[bias], bias + 0.02 * np.linspace(-1, 1, max(1, candidates - 1))])
    paths = np.stack([arc(curvature + offset, speed * (1 - 4 * abs(offset)))
                      for offset in spread[:candidates]])
    future = arc(curvature, speed)
    future[round(known_s / DT_S):] = np.nan
    return {
        'history_xyz': arc(curvature, speed, 16, -15), 'future_xyz': future,
        'candidates_xyz': paths, 'candidates_yaw': np.zeros(paths.shape[:2]),
        'actions': np.zeros((*paths.shape[:2], 2)),
        'plausible': np.arange(candidates) < candidates - bad,
        'pose_at_t0': np.array([speed * index * 0.5, 0, 0, 0, 0, 0, 1.0]),
        **{f'view_{name}': picture(index, name) for name in cameras}}


def metrics(values: dict[str, np.ndarray]) -> dict[str, float | None]:
    """A few figures as the replay computes them."""
    away = np.linalg.norm(values['candidates_xyz'] - values['future_xyz'], axis=2)
    found: dict[str, float | None] = {}
    for horizon in (1.0, 3.0, 6.4):
        steps = round(horizon / DT_S)
        whole = np.isfinite(away[:, :steps]).all()
        mean = away[:, :steps].mean(axis=1)
        found[f'ade_{horizon:g}s'] = float(mean[0]) if whole else None
        found[f'min_ade_{horizon:g}s'] = float(mean.min()) if whole else None
        found[f'fde_{horizon:g}s'] = float(away[0, steps - 1]) if whole else None
    found['diversity_m'] = float(values['candidates_xyz'][:, -1].std(axis=0).sum())
    found['max_lateral_accel_mps2'] = 1.0 + found['diversity_m'] / 10
    found['max_jerk_mps3'] = 0.8
    found['agreement'] = 1.0
    return found


def make_run(path: Path, *, plans: int = 12, refused: tuple[int, ...] = (), candidates: int = 8,
             bias: float = 0.0, bad: int = 1, slow_ms: float = 0.0, seed: int = 0,
             cameras: tuple[str, ...] = SIX_CAMERA_RIG, every_s: float = 0.5,
             reasoning: str = 'Keep the lane: the road ahead is clear.', start_ns: int = START_NS,
             **info: object) -> Path:
    """Write a run; every plan's selected path turns by ``bias`` 1/m more than the drive did.

    ``refused``: which instants have no plan. ``info``: entries of run.json to change.
    """
    head = {
        'created': '2026-01-02T03:04:05+00:00', 'bag': 'demo_drive', 'bag_start_ns': START_NS,
        'bag_end_ns': START_NS + 60_000_000_000,
        'checkpoint': {'path': 'checkpoints/tiny', 'fingerprint': 'ab12' * 4,
                       'model_type': 'alpamayo1_5'},
        'expert': {'backend': 'torch', 'fingerprint': ''}, 'seed': seed,
        'reasoning_mode': 'single', 'num_candidates': candidates, 'dt_s': DT_S,
        'cameras': list(cameras), 'versions': {'torch': '2'}, 'hardware': {'cpu': 'a processor'},
        'parameters': {'limits': {'max_accel_mps2': 6.0}}, 'schedule': {'every_s': every_s},
        'counts': {'streams': {'odometry': {'messages': 500, 'used': 499, 'skipped': 1,
                                            'refused': 0, 'problem': 'one stamp went back'}}},
         'calibration': {}, **info}
    folder = RunFolder.open(path, head, {'seed': seed})
    noise = np.random.default_rng(seed)
    for index in range(plans):
        t0_ns = start_ns + round(index * every_s * 1e9)
        if index in refused:
            folder.add(refusal_record(t0_ns, 'front_wide',
                                      f'no frame within 60 ms of t0; the nearest is {90 + index} '
                                      'ms away'))
            continue
        values = arrays(index, candidates=candidates, bias=bias, bad=bad, cameras=cameras,
                        known_s=(plans - 1 - index) * every_s + 2.0)
        plausible = values['plausible'].tolist()
        line = {
            't0_ns': t0_ns, 'status': 'planned' if plausible[0] else 'implausible', 'stream': None,
            'reason': None if plausible[0] else 'every candidate is implausible', 'sequence': index,
            'v0': 8.0 + math.sin(index / 3), 'navigation': None, 'reasoning': [reasoning],
            'reasoning_of': [0] * candidates, 'sample_order': list(range(candidates)),
            'plausible': plausible,
            'reasons': [[] if good else ['deceleration 12 m/s^2 at 1.2 s; the limit is 9']
                        for good in plausible],
            'metrics': metrics(values), 'input_age_ms': 40.0 + index,
            'timings_ms': {'vision': 110 + 5 * noise.random(), 'decode': 300 + 40 * noise.random(),
                           'expert': 80 + slow_ms + 5 * noise.random(),
                           'total': 500 + slow_ms + 50 * noise.random()}, 'arrays': None}
        folder.add(Record(line, values))
    folder.finish('complete')
    return path
