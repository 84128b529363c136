"""The errors the planner core raises: a message names the thing, its value, what is expected."""

from __future__ import annotations


class AlpamayoError(Exception):
    """Base of every error this package raises on purpose."""


class CheckpointError(AlpamayoError):
    """A checkpoint directory that is missing, incomplete or does not fit."""


class EngineError(AlpamayoError):
    """An exported expert or an engine that is missing, cannot be made, or does not fit."""


class ObservationError(AlpamayoError):
    """An observation the loaded model cannot plan from."""


class ImageError(AlpamayoError):
    """An image message that cannot be decoded."""


class PlanCancelled(AlpamayoError):
    """Planning was asked to stop before it was finished."""
