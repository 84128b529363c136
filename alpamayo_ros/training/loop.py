"""The optimisation of one stage: learning rate, steps, what is kept so that it can go on."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from alpamayo_ros.training.settings import StageSettings

STATE, LOG = 'state.pt', 'log.jsonl'
_LOG_EVERY, _SAVE_EVERY_S = 20, 120.0
_LARGEST_GRADIENT = 1.0
_AGAIN = ' (the same command would come to this again; another --seed has other drives)'


def rate_at(step: int, settings: StageSettings) -> float:
    """Learning rate of a step: up linearly, level, then down along a half cosine to zero."""
    up = min(1.0, (step + 1) / max(1, settings.warmup))
    level = settings.steps * (1 - settings.decay)
    down = 1.0
    if step > level:
        down = 0.5 * (1 + math.cos(math.pi * (step - level) / (settings.steps - level)))
    return settings.rate * up * down


class Progress:
    """What has been done of a run in ``directory``: which stage, which step, and the log.
    ``ValueError`` for a state that cannot be read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / STATE
        self.state: dict[str, Any] = (_loaded(path) if path.exists() else
                                      {'done': [], 'stage': None, 'step': 0})

    def begin(self) -> None:
        """Note that a run has begun: weights that no state explains are not gone on with. What was
        logged after the state was written will be done, and logged, once more."""
        if not (self.directory / STATE).exists():
            self._write(self.state)
        log = self.directory / LOG
        if log.exists():
            lines = log.read_text(encoding='utf-8').splitlines(keepends=True)
            part = log.with_name(LOG + '.part')
            part.write_text(''.join(filter(self._covers, lines)), encoding='utf-8')
            os.replace(part, log)

    def _covers(self, line: str) -> bool:
        try:
            row = json.loads(line)
        except ValueError:  # the last line, of a run killed while it wrote it
            return False
        return self.is_done(row['stage']) or row['step'] <= self.step(row['stage'])

    def is_done(self, stage: str) -> bool:
        return stage in self.state['done']

    def step(self, stage: str) -> int:
        """Steps that an interrupted ``stage`` has behind it."""
        return self.state['step'] if self.state['stage'] == stage else 0

    def keep_head(self, name: str, head: nn.Module) -> None:
        """Keep what is no part of the checkpoint for a later stage."""
        self.state.setdefault('heads', {})[name] = head.state_dict()

    def load_head(self, name: str, head: nn.Module) -> None:
        """Load what ``keep_head`` kept under that name, if anything."""
        if name in self.state.get('heads', {}):
            head.load_state_dict(self.state['heads'][name])

    def check(self) -> None:
        """``ValueError`` where the state does not say all that going on needs, as that of versions
        before this one."""
        if self.state['stage'] is not None and 'drawn' not in self.state:
            raise ValueError(f'{self.directory / STATE} does not say what stage '
                             f'{self.state["stage"]} had drawn; expected a run that this version '
                             'began, or another directory')

    def has_model(self) -> bool:
        """Whether the model that the last complete stage left is here."""
        return 'model' in self.state

    def load_model(self, model: nn.Module) -> bool:
        """Let a model be that which the last complete stage left, to all its digits, and what is
        drawn from torch's generator that which would have been drawn after it; False where there
        is none."""
        if not self.has_model():
            return False
        model.load_state_dict(self.state['model'])
        torch.set_rng_state(self.state['random'])
        return True

    def drawn(self, stage: str) -> dict[str, Any] | None:
        """What an interrupted ``stage`` had drawn, as it was given to ``save``."""
        return self.state['drawn'] if self.step(stage) else None

    def seconds(self, stage: str) -> float:
        """Time that an interrupted ``stage`` has behind it, of what was saved."""
        return self.state['seconds'] if self.step(stage) else 0.0

    def resume(self, stage: str, modules: nn.Module, optimiser: torch.optim.Optimizer) -> int:
        """Load what an interrupted ``stage`` left; returns the step to go on with."""
        if not self.step(stage):
            return 0
        modules.load_state_dict(self.state['modules'])
        optimiser.load_state_dict(self.state['optimiser'])
        torch.set_rng_state(self.state['random'])
        return self.state['step']

    def save(self, stage: str, step: int, modules: nn.Module, optimiser: torch.optim.Optimizer,
             drawn: dict[str, Any], seconds: float) -> None:
        self._write({**self.state, 'stage': stage, 'step': step, 'modules': modules.state_dict(),
                     'optimiser': optimiser.state_dict(), 'drawn': drawn, 'seconds': seconds,
                     'random': torch.get_rng_state()})

    def finish(self, stage: str, model: nn.Module | None = None) -> None:
        """Note that a stage is complete and left ``model``, which is kept with all its digits."""
        state = {'heads': self.state.get('heads', {}), 'done': [*self.state['done'], stage],
                 'stage': None, 'step': 0}
        if model is not None:
            weights = {name: value.cpu().clone() for name, value in model.state_dict().items()}
            state |= {'model': weights, 'random': torch.get_rng_state()}
        self._write(state)

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        with (self.directory / LOG).open('a', encoding='utf-8') as file:
            file.write(json.dumps({'stage': stage, 'step': step, **values}) + '\n')

    def _write(self, state: dict[str, Any]) -> None:
        self.state = state
        part = self.directory / (STATE + '.part')
        torch.save(state, part)
        os.replace(part, self.directory / STATE)


def _loaded(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a torn file is an error of any of half a dozen types
        raise ValueError(f'{path} cannot be read: {type(error).__name__}: {error}; expected what a '
                         'run left there, or another directory') from error


def fit(stage: str, settings: StageSettings, progress: Progress, modules: nn.Module,
        trained: Sequence[nn.Module], losses: Callable[[int], dict[str, Tensor]], *,
        weight_decay: float, drawn: Callable[[], dict[str, Any]] = dict) -> None:
    """Run a stage from where it was left to its end.

    ``modules``: everything whose weights are kept; ``trained``: the part that learns; ``losses``:
    a batch's losses by name for a step, of which those that need gradients are added up; ``drawn``:
    what has to be kept, beside the weights, for the next steps to be the same.
    ``FloatingPointError`` when losses or weights are no longer finite; what is kept still is.
    """
    matrices, others = [], []
    for module in trained:
        for parameter in filter(lambda item: item.requires_grad, module.parameters()):
            (matrices if parameter.ndim > 1 else others).append(parameter)
    optimiser = torch.optim.AdamW(
        [{'params': matrices, 'weight_decay': weight_decay},
         {'params': others, 'weight_decay': 0.0}], lr=settings.rate, betas=(0.9, 0.98))
    start = progress.resume(stage, modules, optimiser)
    sums: dict[str, float] = {}
    count = 0
    saved = time.monotonic()
    began = saved - progress.seconds(stage)
    with tqdm(total=settings.steps, initial=start, desc=stage, unit='step', mininterval=5) as bar:
        for step in range(start, settings.steps):
            for group in optimiser.param_groups:
                group['lr'] = rate_at(step, settings)
            values = losses(step)
            optimiser.zero_grad(set_to_none=True)
            sum(value for value in values.values() if value.requires_grad).backward()
            nn.utils.clip_grad_norm_(matrices + others, _LARGEST_GRADIENT)
            optimiser.step()
            bar.update()
            count += 1
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            if (step + 1) % _LOG_EVERY == 0 or step + 1 == settings.steps:
                means = {name: total / count for name, total in sums.items()}
                _check_finite(stage, step, means)
                bar.set_postfix({name: f'{value:.3f}' for name, value in means.items()},
                                refresh=False)
                progress.log(stage, step + 1, {**means, 'rate': rate_at(step, settings),
                                               'seconds': time.monotonic() - began})
                sums, count = {}, 0
                # Where means begin anew: going on logs the same ones. The end keeps all anyway.
                if time.monotonic() - saved > _SAVE_EVERY_S and step + 1 < settings.steps:
                    # What is kept is what the same command goes on with: never something broken.
                    _check_finite(stage, step, {}, matrices + others)
                    progress.save(stage, step + 1, modules, optimiser, drawn(),
                                  time.monotonic() - began)
                    saved = time.monotonic()
    # The last losses are those before the last step.
    _check_finite(stage, settings.steps - 1, {}, matrices + others)


def _check_finite(stage: str, step: int, losses: Mapping[str, float],
                  weights: Iterable[Tensor] = ()) -> None:
    """``FloatingPointError`` when training has diverged."""
    if not all(map(math.isfinite, losses.values())):
        raise FloatingPointError(f'stage {stage}, step {step}: losses are {dict(losses)}; expected '
                                 f'finite ones{_AGAIN}')
    broken = sum(not bool(weight.isfinite().all()) for weight in weights)
    if broken:
        raise FloatingPointError(f'stage {stage}, step {step}: {broken} of the weights learnt hold '
                                 f'values that are not finite; expected finite ones{_AGAIN}')
