"""How nano is trained: seeds, sizes of batches, learning rates. Written beside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from alpamayo_ros.world.causes import KINDS

ALL_CAMERAS = (0, 1, 2, 3, 5, 6)
FRONT_CAMERAS = (1, 6)


@dataclass(frozen=True)
class StageSettings:
    """``steps`` of ``batch`` examples each at the learning rate ``rate``, which rises over the
    first ``warmup`` steps and falls to zero over the last ``decay`` share of them. Each drawn
    example is seen about ``reuse`` times, from a store of the latest ``store``. ``cameras`` and
    ``frames`` of each: what the examples show. ``sees``: whether the vision tower goes on
    learning."""

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
    as often as the others; ``ValueError`` for what is no kind.
    """

    seed: int = 1
    workers: int = 1
    vision: StageSettings = StageSettings(1200, 64, 1e-3, 2.0, 6000)
    glance: StageSettings = StageSettings(2200, 32, 1e-3, 3.0, 12000, FRONT_CAMERAS, frames=1)
    reasoning: StageSettings = StageSettings(800, 4, 5e-4, 2.0, 2500, sees=False)
    expert: StageSettings = StageSettings(2700, 8, 1e-3, 4.0, 3000)
    draws: int = 4
    weight_decay: float = 0.02
    compiled: bool = True
    twice: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind in self.twice:
            if kind not in KINDS or self.twice.count(kind) > 1:
                raise ValueError(f'kinds to draw twice are {", ".join(self.twice)}; expected some '
                                 f'of {", ".join(KINDS)}, each once')

    def scaled(self, factor: float) -> TrainingSettings:
        """The same with ``factor`` times the steps of every stage, at least one."""
        return self.with_steps({name: max(1, round(factor * stage.steps))
                                for name, stage in self.stages().items()})

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
