"""One plan in figures: the DiagnosticStatus on ``~/output/plan_info``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alpamayo_ros.ros.messages import ROS, Messages
from alpamayo_ros.types import Plan

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus


@dataclass(frozen=True)
class ModelIdentity:
    """What is loaded, in the words of plan_info and /diagnostics."""

    checkpoint: str
    model_type: str
    backend: str
    device: str
    dtype: str
    checkpoint_fingerprint: str
    expert_fingerprint: str


def plan_info(plan: Plan, identity: ModelIdentity, *, name: str, sequence: int,
              ages_s: Mapping[str, float], timings_ms: Mapping[str, float],
              messages: Messages = ROS) -> DiagnosticStatus:
    """Key-values of a plan.

    ``t0`` is the stamp as seconds.nanoseconds; ``ages_s``: how far behind the clock t0 was at some
    point; ``ms.<stage>``: milliseconds; ``candidate.<rank>.*``: sampling index, score in metres
    and the reasons it is implausible, empty for a plausible one; ``warning.<i>``: sentences.
    """
    seconds, nanoseconds = divmod(plan.t0_ns, 1_000_000_000)
    plausible = sum(candidate.plausible for candidate in plan.candidates)
    values: dict[str, object] = {
        't0': f'{seconds}.{nanoseconds:09d}', 'sequence': sequence, 'seed': plan.seed,
        **vars(identity), 'reasoning_mode': plan.reasoning_mode,
        'reasoning_tokens': ' '.join(str(item.token_count) for item in plan.reasoning),
        'reasoning_truncated': sum(item.truncated for item in plan.reasoning),
        'v0_mps': f'{plan.v0:.3f}', 'candidates': len(plan.candidates), 'plausible': plausible}
    values.update((f'{key}_s', f'{age:.3f}') for key, age in ages_s.items())
    values.update((f'ms.{stage}', f'{ms:.2f}') for stage, ms in timings_ms.items())
    for rank, candidate in enumerate(plan.candidates):
        values[f'candidate.{rank}.sample'] = candidate.sample
        values[f'candidate.{rank}.score'] = f'{candidate.score:.4f}'
        values[f'candidate.{rank}.reasons'] = '; '.join(candidate.reasons)
    values.update((f'warning.{index}', text) for index, text in enumerate(plan.warnings))
    message = f'plan {sequence}: {plausible} of {len(plan.candidates)} candidates plausible'
    kind = messages.DiagnosticStatus
    return kind(level=kind.WARN if plan.warnings else kind.OK, name=name, message=message,
                values=[messages.KeyValue(key=key, value=str(value))
                        for key, value in values.items()])
