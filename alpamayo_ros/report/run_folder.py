"""Reading the folder that `alpamayo replay` writes: what was run, and one record an instant."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from alpamayo_ros.replay.folder import RunError, read_lines, read_run
from alpamayo_ros.replay.record import IMPLAUSIBLE, PLANNED, REFUSED

STATUSES = (PLANNED, IMPLAUSIBLE, REFUSED)
_VIEW = 'view_'


@dataclass(frozen=True)
class PlanArrays:
    """The geometry and the views of one plan, in the ego frame at t0, m.

    ``history``: (H, 3), oldest first. ``future``: (T, 3), where the vehicle really went, NaN beyond
    the recording. ``candidates``: (N, T, 3), best first, waypoint k at t0 + (k + 1) dt;
    ``plausible``: (N,) bool. ``views``: the JPEG of the frame at t0 by camera.
    """

    history: np.ndarray
    future: np.ndarray
    candidates: np.ndarray
    plausible: np.ndarray
    views: Mapping[str, bytes]

    @property
    def selected(self) -> np.ndarray | None:
        """(T, 3): the path that would be driven; None when every candidate is implausible."""
        return self.candidates[0] if len(self.plausible) and self.plausible[0] else None


@dataclass(frozen=True)
class PlanRecord:
    """One instant of a replay.

    ``seconds``: since the first instant of the run. ``status``: one of ``STATUSES``; ``stream`` and
    ``reason`` say why there is no plan. ``figures``: every finite number of the record by name:
    the metrics, ``input_age_ms`` and ``time.<stage>`` in ms. ``reasoning``: the texts, that of the
    best candidate first. ``reasons``: why candidates are implausible, one text each.
    """

    t0_ns: int
    seconds: float
    status: str
    stream: str = ''
    reason: str = ''
    v0: float | None = None
    navigation: str | None = None
    reasoning: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    arrays_path: Path | None = None

    @property
    def has_candidates(self) -> bool:
        return self.arrays_path is not None

    def arrays(self, *, views: bool = True) -> PlanArrays:
        """Read the plan's arrays, the pictures only with ``views``.

        ``RunError`` names the file that is missing or broken.
        """
        if self.arrays_path is None:
            raise RunError(f'the instant {self.t0_ns} ns has no plan: {self.reason or self.status}')
        try:
            with np.load(self.arrays_path, allow_pickle=False) as data:
                arrays = PlanArrays(
                    history=data['history_xyz'], future=data['future_xyz'],
                    candidates=data['candidates_xyz'], plausible=data['plausible'].astype(bool),
                    views={key.removeprefix(_VIEW): data[key].tobytes()
                           for key in data.files if views and key.startswith(_VIEW)})
        # Of a damaged zip file.
        except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:
            raise RunError(f"'{self.arrays_path}' cannot be read: {error}") from error
        for name, value, wanted in (('history_xyz', arrays.history, (None, 3)),
                                    ('future_xyz', arrays.future, (None, 3)),
                                    ('candidates_xyz', arrays.candidates, (None, None, 3)),
                                    ('plausible', arrays.plausible, arrays.candidates.shape[:1])):
            if value.ndim != len(wanted) or any(
                    have != want for have, want in zip(value.shape, wanted, strict=True)
                    if want is not None):
                raise RunError(f"'{self.arrays_path}': {name} has shape {value.shape}; expected "
                               + str(tuple('any' if size is None else size for size in wanted)))
        return arrays


@dataclass(frozen=True)
class Run:
    """A replay. ``info``: what run.json says; ``instants``: the records in order of time."""

    path: Path
    info: Mapping[str, Any]
    instants: tuple[PlanRecord, ...]

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def dt_s(self) -> float:
        """Time between waypoints, s."""
        return float(self.info['dt_s'])

    @property
    def plans(self) -> tuple[PlanRecord, ...]:
        """The instants that have candidates, plausible or not."""
        return tuple(record for record in self.instants if record.has_candidates)

    def values(self, name: str) -> np.ndarray:
        """Return a figure at every instant, (instants,), NaN where there is none."""
        return np.array([record.figures.get(name, math.nan) for record in self.instants])

    def counts(self) -> Counter[str]:
        """Return how many instants have each figure, in the order in which they first appear."""
        return figure_counts(self.instants)


def figure_counts(records: Iterable[PlanRecord]) -> Counter[str]:
    """Return how many records have each figure, in the order in which they first appear."""
    return Counter(name for record in records for name in record.figures)


def load_run(path: Path) -> Run:
    """Read a run; ``RunError`` names the file, the line and what was expected."""
    info = read_run(path)
    step = info.get('dt_s')
    if not _is_number(step) or step <= 0:
        raise RunError(f"'{path / 'run.json'}': dt_s is {step!r}; expected seconds above 0")
    records = [_record(path, f"'{path / 'plans.jsonl'}' line {number}", line)
               for number, line in enumerate(read_lines(path), 1)]
    records.sort(key=lambda record: record['t0_ns'])
    instants = [record['t0_ns'] for record in records]
    twice = {t0 for t0, after in zip(instants, instants[1:], strict=False) if t0 == after}
    if twice:
        raise RunError(f"'{path / 'plans.jsonl'}' has the instant {min(twice)} ns twice; expected "
                       'every instant once')
    first = instants[0] if instants else 0
    return Run(path, info, tuple(
        PlanRecord(seconds=(record['t0_ns'] - first) * 1e-9, **record) for record in records))


def _record(path: Path, where: str, line: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(line, Mapping) or not isinstance(line.get('t0_ns'), int):
        raise RunError(f'{where} has no t0_ns; expected nanoseconds')
    if line.get('status') not in STATUSES:
        raise RunError(f"{where}: status is {line.get('status')!r}; expected one of "
                       + ', '.join(STATUSES))
    figures = {**(line.get('metrics') or {}), 'input_age_ms': line.get('input_age_ms'),
               **{f'time.{stage}': ms for stage, ms in (line.get('timings_ms') or {}).items()}}
    texts, order = line.get('reasoning') or [], line.get('reasoning_of') or []
    if not all(isinstance(index, int) and 0 <= index < len(texts) for index in order):
        raise RunError(f'{where}: reasoning_of is {order}; expected indices of the '
                       f'{len(texts)} reasonings')
    arrays = line.get('arrays')
    return {
        't0_ns': line['t0_ns'], 'status': line['status'], 'stream': line.get('stream') or '',
        'reason': line.get('reason') or '',
        'v0': line['v0'] if _is_number(line.get('v0')) else None,
        'navigation': line.get('navigation'),
        # One text for each candidate, or a text that all of them share.
        'reasoning': tuple(texts[index] for index in order) if len(texts) > 1 else tuple(texts),
        'reasons': tuple('; '.join(item) for item in line.get('reasons') or []),
        'figures': {name: float(value) for name, value in figures.items() if _is_number(value)},
        'arrays_path': path / arrays if arrays else None}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
