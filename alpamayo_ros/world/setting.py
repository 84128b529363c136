"""Drawing the road a drive happens on: its lanes, bends, junctions and the speed driven there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.world.driver import NOSE_M, Style
from alpamayo_ros.world.lines import road_line
from alpamayo_ros.world.roads import Junction, Layout
from alpamayo_ros.world.stage import Passage, Stage

BEHIND_M, AHEAD_M = -70.0, 300.0
FASTEST = {'wide': 13.5, 'open': 11.0, 'parked': 8.5}
"""The speed driven on a free road, m/s, tells from its looks: two lanes each way, one, one beside
parked vehicles."""

Bend = tuple[float, float, float]


@dataclass(frozen=True)
class Setting:
    """A kind of road and a driver. ``limit``: m/s."""

    lanes: int
    lane: int
    parking_right: bool
    parking_left: bool
    limit: float
    style: Style

    @staticmethod
    def draw(rng: np.random.Generator, *, lanes: int | None = None, lane: int | None = None,
             parking: bool | None = None) -> Setting:
        """Draw what is not given."""
        if lanes is None:
            lanes = 2 if rng.random() < 0.3 else 1
        if lane is None:
            lane = int(rng.integers(lanes))
        if parking is None:
            parking = lanes == 1 and rng.random() < 0.3
        look = 'wide' if lanes > 1 else 'parked' if parking else 'open'
        return Setting(lanes, lane, parking, parking and rng.random() < 0.6,
                       FASTEST[look] * (1.0 + rng.normal(0.0, 0.02)), Style.draw(rng))

    def stage(self, rng: np.random.Generator, steps: int, speed: float, *,
              bends: Sequence[Bend] = (), junctions: Sequence[Junction] = (),
              zebras: Sequence[float] = (), way: str = 'straight') -> Stage:
        """A stage on such a road; ``way`` is that taken at the last junction."""
        layout = Layout(road_line(bends, BEHIND_M, AHEAD_M), self.lanes, self.lane,
                        self.parking_right, self.parking_left, tuple(junctions), tuple(zebras))
        route = layout.route(junctions[-1] if junctions else None, way, rng)
        return Stage(rng, steps, layout, route, self.limit, self.style, speed)


def gentle_bends(rng: np.random.Generator, first: float, last: float) -> list[Bend]:
    """None or one bend between two arc lengths, too wide to slow for."""
    if rng.random() < 0.5 or last - first < 60.0:
        return []
    length = rng.uniform(50.0, min(150.0, last - first))
    start = rng.uniform(first, last - length)
    return [(start, start + length, rng.choice((-1.0, 1.0)) / rng.uniform(140.0, 420.0))]


def junction_stage(rng: np.random.Generator, setting: Setting, steps: int, speed: float,
                   nose: float, *, way: str = 'straight', lit: bool, red: tuple[int, int] = (0, 0)
                   ) -> tuple[Stage, Passage]:
    """A stage whose stop line is ``nose`` m ahead of the front bumper at the first step."""
    arms = ('left', 'right')
    if rng.random() < 0.25:
        arms = (way,) if way != 'straight' else (str(rng.choice(('left', 'right'))),)
    junction = Junction(0.0, 2 if rng.random() < 0.2 else 1, rng.uniform(5.5, 8.0), arms, lit,
                        bool(rng.random() < (0.5 if lit else 0.25)), rng.uniform(-0.04, 0.04))
    junction = replace(junction, s=nose + NOSE_M + junction.setback)
    if way != 'straight' and setting.lanes > 1:
        setting = replace(setting, lane=0 if way == 'left' else setting.lanes - 1)
    bends = gentle_bends(rng, junction.s + junction.setback + 45.0, AHEAD_M - 20.0)
    before = junction.s - junction.setback - 45.0
    if before > 40.0:
        bends += gentle_bends(rng, -30.0, before)
    stage = setting.stage(rng, steps, speed, bends=bends, junctions=(junction,), way=way)
    passage = passage_of(stage, junction, way, red)
    stage.passages.append(passage)
    return stage, passage


def passage_of(stage: Stage, junction: Junction, way: str, red: tuple[int, int]) -> Passage:
    """The ego's way through a junction, in arc lengths of its route."""
    line = stage.along(junction.s - junction.setback, stage.layout.offset)
    end = stage.along(junction.s + junction.half, stage.layout.offset)
    if way != 'straight':
        bent = np.flatnonzero(np.abs(stage.route.curvature) > 1 / 25)
        end = stage.route.start + 0.5 * float(bent.max())
    return Passage(junction, line, end, way, red)
