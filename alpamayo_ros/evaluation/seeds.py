"""Which scenes are drawn: seeds for training, for choices and for reported figures never meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alpamayo_ros.world.causes import KINDS

TRAIN_BASE = 0
"""Training draws from here up to, and without, ``VALIDATION_BASE``."""
VALIDATION_BASE = 1_000_000_000
TEST_BASE = 2_000_000_000
SEEDS_PER_STAGE = 10_000_000
"""What a stage of training may draw."""
SEEDS_PER_TRAINING = 10 * SEEDS_PER_STAGE
MAX_TRAINING_SEED = (VALIDATION_BASE - TRAIN_BASE) // SEEDS_PER_TRAINING - 1
"""Largest user's seed of a training, so that it ends before the seeds of validation begin."""
SEEDS_PER_DRAW = 100_000
"""A user's seed S has the scene seeds base + S * this, and none of the next user's seed."""
MAX_SEED = 9_999
"""Largest user's seed, so that validation seeds end before those of tests begin."""


@dataclass(frozen=True)
class SceneId:
    """A scene anyone can draw again: its kind and its scene seed."""

    kind: str
    seed: int


def training_seed(seed: int, stage: int) -> int:
    """The drive seed with which a stage begins.

    ``seed``: the user's; ``stage``: 0 for the first. ``ValueError`` for what would be the seed of
    another user's seed, or of scenes that are evaluated.
    """
    for name, value, most in (('seed', seed, MAX_TRAINING_SEED),
                              ('stage', stage, SEEDS_PER_TRAINING // SEEDS_PER_STAGE - 1)):
        if not 0 <= value <= most:
            raise ValueError(f'{name} of a training is {value}; expected 0 to {most}')
    return TRAIN_BASE + seed * SEEDS_PER_TRAINING + stage * SEEDS_PER_STAGE


def scene_ids(per_kind: int, seed: int, *, validation: bool = False,
              kinds: Sequence[str] = KINDS) -> list[SceneId]:
    """``per_kind`` scenes of each of ``kinds``, the kinds in turns.

    Scene j of kind k has the seed base + ``seed`` * ``SEEDS_PER_DRAW`` + j * (number of all kinds)
    + (index of k among all kinds): asking for fewer kinds or scenes leaves out, and changes none.
    ``ValueError`` for a kind that does not exist or is named twice, or a number out of range.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or len(set(kinds)) != len(kinds):
        raise ValueError(f'kinds are {list(kinds)}; expected distinct ones of {", ".join(KINDS)}')
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f'seed is {seed}; expected 0 to {MAX_SEED}')
    most = SEEDS_PER_DRAW // len(KINDS)
    if not 1 <= per_kind <= most:
        raise ValueError(f'scenes of each kind are {per_kind}; expected 1 to {most}')
    base = (VALIDATION_BASE if validation else TEST_BASE) + seed * SEEDS_PER_DRAW
    return [SceneId(kind, base + number * len(KINDS) + KINDS.index(kind))
            for number in range(per_kind) for kind in kinds]
