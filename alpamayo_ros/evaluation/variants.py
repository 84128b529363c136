"""The ways in which a scene is planned: as on a vehicle, and changed to see what that changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from alpamayo_ros.evaluation.judge import told_way
from alpamayo_ros.model.preprocessing import FramePreprocessor
from alpamayo_ros.planner import Planner
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.types import Observation, Plan
from alpamayo_ros.world.types import Sample


@dataclass(frozen=True)
class Variant:
    """``eyes``: 'own', 'grey' or 'another' scene's images. ``guided``: with navigation guidance.
    ``told``: the instruction is given. ``mode``: of the reasoning. ``junctions``: only scenes
    that can tell which way is taken are planned."""

    label: str
    eyes: str = 'own'
    guided: bool = False
    told: bool = True
    mode: str = 'single'
    junctions: bool = False

    def applies(self, sample: Sample) -> bool:
        """Whether a scene is planned in this way."""
        return not self.junctions or told_way(sample) is not None


VARIANTS: Mapping[str, Variant] = {
    'plain': Variant('as on a vehicle'),
    'guided': Variant('with navigation guidance', guided=True, junctions=True),
    'blank': Variant('cameras blanked', eyes='grey'),
    'swapped': Variant("another scene's images", eyes='another'),
    'untold': Variant('without the instruction', told=False, junctions=True),
    'multi': Variant('one reasoning a candidate', mode='multi'),
}
ABLATIONS = ('blank', 'swapped', 'untold')


class Driver(Protocol):
    """Whoever plans: a checkpoint, or in tests anything that knows an answer."""

    preprocessor: FramePreprocessor
    accepts_navigation: bool

    def plan(self, observation: Observation, seed: int, *, mode: str, guidance: float) -> Plan:
        """Plan, drawing from ``seed``."""


class CheckpointDriver:
    """A checkpoint that is loaded once and plans with a seed, mode and guidance of each call.

    Every scene has a seed of its own, so that the intervals cover what sampling adds.
    """

    def __init__(self, checkpoint: Path, settings: PlannerSettings, *, device: str = 'cpu',
                 dtype: str = 'float32') -> None:
        """Load; raises what ``Planner.load`` raises."""
        self._planner = Planner.load(checkpoint, settings, device=device, dtype=dtype)
        self.preprocessor = self._planner.preprocessor
        self.accepts_navigation = self._planner.accepts_navigation
        self.fingerprint = self._planner.checkpoint_fingerprint
        self.model_type = self._planner.model_type

    def plan(self, observation: Observation, seed: int, *, mode: str = 'single',
             guidance: float = 0.0) -> Plan:
        settings = dataclasses.replace(self._planner.settings, seed=seed, reasoning_mode=mode,
                                       guidance_weight=guidance)
        return Planner(self._planner.runtime, settings).plan(observation)
