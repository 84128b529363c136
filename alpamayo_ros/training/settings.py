"""How nano is trained: seeds, sizes of batches, learning rates. Written beside the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from alpamayo_ros.evaluation.seeds import MAX_TRAINING_SEED, SEEDS_PER_STAGE
from alpamayo_ros.world.causes import KINDS

ALL_CAMERAS = (0, 1, 2, 3, 5, 6)
FRONT_CAMERAS = (1, 6)
_AHEAD = 1_000_000
"""More drives than a store and its workers ever draw ahead of the steps."""


@dataclass(frozen=True)
class StageSettings:
    """``steps`` of ``batch`` examples each at the learning rate ``rate``, which rises over the
    first ``warmup`` steps and falls to zero over the last ``decay`` share of them. Each drawn
    example is seen ``reuse`` times on average, early ones more often and late ones less, from a
    store of the latest ``store``. ``cameras`` and ``frames`` of each: what the examples show.
    ``sees``: whether the vision tower goes on learning."""

    steps: int
    batch: int
    rate: float
    reuse: float
    store: int
    cameras: tuple[int, ...] = ALL_CAMERAS
    frames: int = 4
    warmup: int = 100
    decay: float = 0.5
    sees: bool = True


@dataclass(frozen=True)
class TrainingSettings:
    """All stages in order. ``glance`` and ``reasoning`` are one stage in two parts: first with one
    frame of the two cameras that look ahead, a tenth of the work, then with all frames of all six
    and the vision tower as it is. ``draws``: points of the flow a sample in a batch of the
    expert's stage gives. ``compiled``: whether the passes are compiled, which needs a C++ compiler,
    takes minutes once and then makes them faster. ``twice``: kinds of drives that are drawn twice
    as often as the others. ``ValueError`` for what cannot be, such as a seed or steps with which a
    stage would draw what another one, or an evaluation, draws.
    """

    seed: int = 1
    workers: int = 1
    vision: StageSettings = StageSettings(1000, 64, 1e-3, 2.0, 6000)
    glance: StageSettings = StageSettings(3000, 32, 1e-3, 3.0, 12000, FRONT_CAMERAS, frames=1)
    reasoning: StageSettings = StageSettings(500, 4, 5e-4, 2.0, 2500, sees=False)
    expert: StageSettings = StageSettings(7000, 8, 1e-3, 4.0, 3000)
    draws: int = 4
    weight_decay: float = 0.02
    compiled: bool = True
    twice: tuple[str, ...] = ('clear_road', 'curve', 'slow_lead', 'standing_lead', 'red_light',
                              'pedestrian', 'cut_in')

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_TRAINING_SEED:
            raise ValueError(f'seed is {self.seed}; expected 0 to {MAX_TRAINING_SEED}: beyond are '
                             'the drives that checkpoints are evaluated on')
        if self.workers < 1:
            raise ValueError(f'workers are {self.workers}; expected 1 or more')
        for name, stage in self.stages().items():
            most = (SEEDS_PER_STAGE - _AHEAD) // stage.batch
            if stage.steps > most:
                raise ValueError(f'steps of {name} are {stage.steps}; expected at most {most}, so '
                                 'that no other stage has the same drives')
        for kind in self.twice:
            if kind not in KINDS or self.twice.count(kind) > 1:
                raise ValueError(f'kinds to draw twice are {", ".join(self.twice)}; expected some '
                                 f'of {", ".join(KINDS)}, each once')

    def scaled(self, factor: float) -> TrainingSettings:
        """The same with ``factor`` times the steps of every stage, at least one; ``ValueError`` for
        what is no number above 0."""
        steps = {name: factor * stage.steps for name, stage in self.stages().items()}
        if not factor > 0 or not all(map(math.isfinite, steps.values())):
            raise ValueError(f'the scale of the steps is {factor}; expected a finite number above '
                             '0')
        return self.with_steps({name: max(1, round(count)) for name, count in steps.items()})

    def with_steps(self, steps: Mapping[str, int]) -> TrainingSettings:
        """The same with other steps for some stages; ``ValueError`` for what is no stage, or for
        less than one step."""
        stages = self.stages()
        for name, count in steps.items():
            if name not in stages:
                raise ValueError(f'{name!r} is no stage; expected one of {", ".join(stages)}')
            if count < 1:
                raise ValueError(f'steps of {name} are {count}; expected 1 or more')
        return replace(self, **{name: replace(stages[name], steps=count)
                                for name, count in steps.items()})

    def stages(self) -> dict[str, StageSettings]:
        """The stages by name, in order."""
        return {item.name: getattr(self, item.name) for item in fields(self)
                if isinstance(getattr(self, item.name), StageSettings)}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
