"""The stage of a drive: what is set up for it, played out with the driver into a ``Drive``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from alpamayo_ros.world.driver import Lead, Shift, Situation, Stop, Style, Zone, simulate
from alpamayo_ros.world.lines import Line
from alpamayo_ros.world.looks import draw_look
from alpamayo_ros.world.roads import Junction, Layout, strips
from alpamayo_ros.world.scenery import parked, scenery, signal_heads
from alpamayo_ros.world.traffic import Mover, keep_clear, off_path
from alpamayo_ros.world.types import Drive, Thing


@dataclass(frozen=True)
class LeadVehicle:
    """A vehicle the driver minds, as it is seen: ``cuts``: the steps of its lane change."""

    mover: Mover
    speed: np.ndarray
    cuts: tuple[int, int] | None = None
    side: str = 'left'


@dataclass(frozen=True)
class Passage:
    """A junction on the way: its stop line and its end, m along the route, and the way taken."""

    junction: Junction
    line: float
    end: float
    way: str
    red: tuple[int, int] = (0, 0)
    """The steps during which its light is red for the ego, from the one to before the other."""

    def lit_red(self, step: int) -> bool:
        """Whether the ego's light is red at a step."""
        return self.red[0] <= step < self.red[1]


@dataclass(frozen=True)
class PlayedDrive(Drive):
    """A drive with what its samples are told from.

    ``binding``: what bound the driver at each step; ``places``: (steps,) the rear axle's arc
    length on the route, m; ``events``: steps before which nothing told what happened then;
    ``details``: words for the texts by cause.
    """

    situation: Situation
    binding: tuple[Lead | Stop | Zone | None, ...]
    places: np.ndarray
    events: tuple[int, ...] = ()
    leads: tuple[LeadVehicle, ...] = ()
    passages: tuple[Passage, ...] = ()
    details: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    alternative: Situation | None = None
    """What the driver would as well have minded, where two futures are sensible."""
    window: tuple[int, int] = (0, 10_000)
    """The steps, from the one to before the other, at which samples make sense."""


@dataclass
class Stage:
    """What a drive is set up from; the builders of the kinds fill it in."""

    rng: np.random.Generator
    steps: int
    layout: Layout
    route: Line
    limit: float
    style: Style
    speed: float
    start: float = 0.0
    leads: list[Lead] = field(default_factory=list)
    lead_vehicles: list[LeadVehicle] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    zones: list[Zone] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    movers: list[Mover] = field(default_factory=list)
    extras: list[Mover] = field(default_factory=list)
    fixed: list[Thing] = field(default_factory=list)
    no_parking: list[tuple[float, float]] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    details: dict[str, dict[str, str]] = field(default_factory=dict)
    navigation: list[str | None] = field(default_factory=list)
    alternative: Situation | None = None
    window: tuple[int, int] = (0, 10_000)

    def situation(self) -> Situation:
        """What the driver minds."""
        return Situation(self.route, self.limit, self.style, tuple(self.leads), tuple(self.stops),
                         tuple(self.zones), tuple(self.shifts))

    def along(self, s: float, offset: float = 0.0) -> float:
        """The arc length on the route of a place on the road's middle, ``offset`` m to its left."""
        x, y, _ = self.layout.middle.pose(s, offset)
        return self.route.nearest(x, y)

    def follow(self, mover: Mover, middle: np.ndarray, speed: np.ndarray, *, begins: int = 0,
               cuts: tuple[int, int] | None = None, side: str = 'left') -> None:
        """Let the driver mind a vehicle whose middle is at arc lengths ``middle`` of the route."""
        rear = middle - 0.5 * mover.body.size[0]
        self.leads.append(Lead(rear.tolist(), speed.tolist(), begins=begins,
                               number=len(self.lead_vehicles)))
        self.lead_vehicles.append(LeadVehicle(mover, speed, cuts, side))
        self.movers.append(mover)

    def foresee(self, step: int) -> tuple[float, float]:
        """Arc length m on the route and speed m/s at ``step``, as the stage is set up so far."""
        start = self.route.at(self.start)[:3]
        ego, _, places = simulate(self.situation(), (*start, self.speed), step + 1)
        return float(places[-1]), float(ego[-1, 3])

    def play(self, kind: str, seed: int) -> PlayedDrive:
        """Simulate the driver and put everything in its place."""
        rng, situation = self.rng, self.situation()
        x, y, yaw, _ = self.route.at(self.start)
        aside = (self.style.offset + self.style.astray
                 + rng.uniform(-0.25, 0.25) * (self.speed > 1.0))
        x, y = x - aside * np.sin(yaw), y + aside * np.cos(yaw)
        heading = yaw + np.radians(rng.uniform(-2.0, 2.0)) * (self.speed > 1.0)
        start = x, y, heading, self.speed
        ego, binding, places = simulate(situation, start, self.steps)
        extras = keep_clear(ego, self.movers, self.extras)
        if self.alternative is not None:
            # Either future has to be open at any time, and the traffic must not tell which it is.
            for path in (ego, simulate(self.alternative, start, self.steps)[0]):
                extras = off_path(path, extras)
        columns = [mover.things() for mover in self.movers + extras]
        columns += self._signals()
        moving = tuple(zip(*columns, strict=True)) if columns else ((),) * self.steps
        fixed = [*self.fixed, *parked(self.layout, rng, tuple(self.no_parking)),
                 *scenery(self.layout, rng)]
        navigation = self.navigation or [None] * self.steps
        return PlayedDrive(
            kind=kind, seed=seed, look=draw_look(rng), strips=strips(self.layout),
            fixed=tuple(fixed), moving=moving, ego=ego, navigation=tuple(navigation),
            situation=situation, binding=tuple(binding), places=places,
            events=tuple(sorted(self.events)), leads=tuple(self.lead_vehicles),
            passages=tuple(self.passages), details=self.details, alternative=self.alternative,
            window=self.window)

    def _signals(self) -> list[list[Thing]]:
        columns = []
        for passage in self.passages:
            if not passage.junction.lit:
                continue
            for head, main in signal_heads(self.layout, passage.junction):
                heads = {state: replace(head, state=state) for state in ('red', 'green')}
                columns.append([heads['red' if passage.lit_red(step) == main else 'green']
                                for step in range(self.steps)])
        return columns
