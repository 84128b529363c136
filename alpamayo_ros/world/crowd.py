"""Road users that the driver need not mind: they are there in drives of every kind."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.world.stage import Passage, Stage
from alpamayo_ros.world.traffic import Body, Mover, mover_along, travel
from alpamayo_ros.world.types import LANE_M


def populate(stage: Stage) -> None:
    """Add oncoming, crossing and parallel vehicles, walkers and cyclists to a stage."""
    rng = stage.rng
    lit = [passage for passage in stage.passages if passage.junction.lit]
    for _ in range(int(rng.integers(0, 4))):
        _oncoming(stage, lit)
    for passage in stage.passages:
        for _ in range(int(rng.integers(0, 4))):
            _crossing(stage, passage)
    if stage.layout.lanes > 1 and rng.random() < 0.7:
        _parallel(stage, lit)
    for _ in range(int(rng.integers(0, 5))):
        _walker(stage)


def _held(stage: Stage, passage: Passage) -> bool:
    """Whether the main road has red from the first step on."""
    return passage.junction.lit and passage.lit_red(0)


def _oncoming(stage: Stage, lit: list[Passage]) -> None:
    rng, layout = stage.rng, stage.layout
    cyclist = rng.random() < 0.12
    body = Body.draw(rng, 'cyclist' if cyclist else None)
    lane = int(rng.integers(layout.lanes))
    offset = (lane + 0.5) * LANE_M + rng.normal(0.0, 0.12)
    if cyclist:
        offset = layout.half - 0.6
    start = rng.uniform(10.0, 190.0)
    speed = rng.uniform(3.5, 5.5) if cyclist else stage.limit * rng.uniform(0.75, 1.05)
    states: str | tuple[str, ...] = ''
    for passage in lit:
        line = passage.junction.s + passage.junction.setback
        if _held(stage, passage) and start > line - 6.0:
            start, speed = line + 1.2 + 0.5 * body.size[0], 0.0
            go = passage.red[1]
            ways, speeds = travel(0.0, 0.0, stage.steps, ((go + 8, 1.3), (go + 80, 0.0)))
            states = tuple('braking' if value < 0.05 else '' for value in speeds)
            stage.extras.append(mover_along(body, layout.middle, start - ways, offset, states,
                                            against=True))
            return
    ways, _ = travel(0.0, speed, stage.steps)
    stage.extras.append(mover_along(body, layout.middle, start - ways, offset, states,
                                    against=True))


def _crossing(stage: Stage, passage: Passage) -> None:
    """A vehicle on the crossing road: under way where it has green, else at its line."""
    rng, junction = stage.rng, passage.junction
    line = stage.layout.cross_line(junction)
    arm = junction.arms[int(rng.integers(len(junction.arms)))]
    against = arm == 'left'
    body = Body.draw(rng)
    lane = int(rng.integers(junction.lanes))
    offset = (1.0 if against else -1.0) * (lane + 0.5) * LANE_M
    begin = stage.layout.half + junction.corner + (4.8 if junction.zebra else 1.2)
    waits = begin + rng.uniform(1.0, 2.2) + 0.5 * body.size[0]
    if junction.lit and _held(stage, passage) and len(junction.arms) == 2:
        ways, _ = travel(0.0, rng.uniform(6.0, 10.0), stage.steps)
        s = rng.uniform(-10.0, 75.0) - ways
        states = ''
    elif junction.lit and not _held(stage, passage) or rng.random() < 0.6:
        s, states = np.full(stage.steps, waits), 'braking'
    else:
        # Drives away from the junction.
        ways, _ = travel(begin + 4.0, rng.uniform(5.0, 9.0), stage.steps)
        s, states = ways, ''
        against, offset = not against, -offset
    stage.extras.append(mover_along(body, line, s if arm == 'left' else -s, offset, states,
                                    against=against))


def _parallel(stage: Stage, lit: list[Passage]) -> None:
    rng, layout = stage.rng, stage.layout
    lane = int(rng.choice([other for other in range(layout.lanes) if other != layout.lane]))
    body = Body.draw(rng)
    if any(_held(stage, passage) for passage in lit):
        passage = next(passage for passage in lit if _held(stage, passage))
        s = np.full(stage.steps, passage.junction.s - passage.junction.setback - 1.3
                    - 0.5 * body.size[0])
        states = 'braking'
    else:
        s, _ = travel(rng.uniform(-30.0, 70.0), stage.limit * rng.uniform(0.85, 1.1), stage.steps)
        states = ''
    stage.extras.append(mover_along(body, layout.middle, s, -(lane + 0.5) * LANE_M, states))


def _walker(stage: Stage) -> None:
    rng, layout = stage.rng, stage.layout
    side = int(rng.choice((-1, 1)))
    against = rng.random() < 0.5
    s, _ = travel(0.0, rng.uniform(0.9, 1.6) * (rng.random() < 0.85), stage.steps)
    begin = rng.uniform(0.0, 90.0)
    near = [passage.junction for passage in stage.passages]
    spots = [begin + (-1 if against else 1) * way for way in (s[0], s[-1])]
    if any(abs(spot - j.s) < j.setback + 3.0 for j in near for spot in spots):
        return
    if any(abs(spot - zebra) < 6.0 for zebra in layout.zebras for spot in spots):
        return
    stage.extras.append(_walking(Body.draw(rng, 'pedestrian'), stage,
                                 begin + (-s if against else s),
                                 side * (layout.paved(side) + rng.uniform(0.9, 2.0)), against))


def _walking(body: Body, stage: Stage, s: np.ndarray, offset: float, against: bool) -> Mover:
    return mover_along(body, stage.layout.middle, s, offset, '', against=against)
