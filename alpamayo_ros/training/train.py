"""A training run from nothing to a checkpoint, stage by stage, going on where it was left."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.evaluation.seeds import training_seed
from alpamayo_ros.model.alpamayo import FLOAT32_MODULES, AlpamayoModel
from alpamayo_ros.model.checkpoint import parse_device
from alpamayo_ros.model.config import AlpamayoConfig, load_config
from alpamayo_ros.model.tokenizer import load_tokenizer
from alpamayo_ros.training import examples as ex
from alpamayo_ros.training import stages
from alpamayo_ros.training.batches import Batcher, up_to
from alpamayo_ros.training.curves import draw_curves
from alpamayo_ros.training.forward import EAGER, Passes, compiled_passes
from alpamayo_ros.training.loop import LOG, STATE, Progress, fit
from alpamayo_ros.training.memory import keep_freed_memory
from alpamayo_ros.training.nano import write_configuration
from alpamayo_ros.training.settings import StageSettings, TrainingSettings
from alpamayo_ros.training.store import Origin, Store, seeds_of
from alpamayo_ros.training.workers import Stream
from alpamayo_ros.world.reasoning import all_texts, navigation_texts

_WEIGHTS, _START, _SETTINGS = 'model.safetensors', 'start.json', 'settings.json'
_CURVES = 'curves.png'
_CONFIGURATION = ('config.json', 'vlm/config.json', 'vlm/tokenizer.json')
_INSTANTS, _IMAGES = 3, 24
_JITTER = 29
"""Of an example's generators the one for its exposure."""


def train(directory: Path, settings: TrainingSettings, device: str = 'cpu',
          start: Path | None = None) -> None:
    """Train nano into ``directory`` on ``device``, or go on with the run that is there.

    ``start``: a checkpoint of nano whose weights a new run begins with; its tower sees already, so
    the first stage is left out. ``ValueError`` when the run that is there has other settings or
    began with something else, when part of it is gone or torn, when the checkpoint to start from
    has another configuration, when there is no such device, or nothing to compile the passes with;
    ``CheckpointError`` for weights that cannot be read or do not fit; ``FloatingPointError`` when
    training diverges. Nothing is written before all that can be checked has been.
    """
    where = parse_device(device)
    passes = compiled_passes() if settings.compiled else EAGER
    notes = directory / 'training'
    _check_settings(notes, settings)
    _check_run(directory, start)
    weights = None if start is None else _weights_of(start, notes / _START)
    keep_freed_memory()
    torch.manual_seed(settings.seed)
    notes.mkdir(parents=True, exist_ok=True)
    _put(notes / _SETTINGS, _text(settings.as_dict()))
    if not (directory / 'config.json').exists():
        write_configuration(directory, _texts())
    progress = Progress(notes)
    if weights is not None and not (directory / _WEIGHTS).exists():
        _take_over(start, weights, directory, progress)
    progress.begin()
    if (notes / LOG).exists():
        draw_curves(notes / LOG, notes / _CURVES)  # the last run may have ended before that
    model = _model(directory)
    if progress.load_model(model):
        _save(model, directory)  # whatever ended the last run may have come before it
    model = model.to(where)
    for index, (name, stage) in enumerate(settings.stages().items()):
        if progress.is_done(name):
            continue
        seed = training_seed(settings.seed, index)
        if name == 'expert':
            model.load_state_dict(_shipped(model))  # it learns to read the VLM as it is shipped
        run = {'vision': _vision, 'expert': _expert}.get(name, _reasoning)
        with ExitStack() as stack:
            run(name, stage, settings, progress, model, passes, seed, stack)
        progress.finish(name, model)
        _save(model, directory)
        draw_curves(notes / LOG, notes / _CURVES)


def _check_settings(notes: Path, settings: TrainingSettings) -> None:
    path = notes / _SETTINGS
    if path.exists() and path.read_bytes() != _text(settings.as_dict()):
        raise ValueError(f'{path} differs from the settings asked for; expected the same ones to '
                         'go on with this run, or another directory')


def _check_run(directory: Path, start: Path | None) -> None:
    """Whether what is there is a run that can go on in this way, or nothing."""
    notes = directory / 'training'
    weights, state, begun = (path.exists() for path in (
        directory / _WEIGHTS, notes / STATE, notes / _START))
    if weights and not state:
        raise ValueError(f'{directory} has {_WEIGHTS} but no training/{STATE}, so that nothing '
                         'tells what is left to do; expected both, or a directory without weights')
    if begun and not weights and start is None:
        raise ValueError(f'{notes / _START} says that this run begins with the weights of another '
                         f'checkpoint, but {directory / _WEIGHTS} is not there yet; expected '
                         '--start with that checkpoint')
    progress = Progress(notes) if state else None
    if progress is not None:
        progress.check()
    if progress is not None and not weights:
        # The weights to begin with have seen; they stand for the stage that is left out.
        learnt = [name for name in progress.state['done'] if not begun or name != 'vision']
        if learnt and not progress.has_model():
            raise ValueError(f'{notes / STATE} says that {", ".join(learnt)} is done, but '
                             f'{directory / _WEIGHTS} is gone; expected both, or another directory')
    if state and not begun and start is not None:
        raise ValueError(f'--start is {start}, but {directory} has a run from nothing; expected '
                         'another directory, or no --start to go on with this run')


def _weights_of(start: Path, note: Path) -> bytes:
    """The weights to begin with: those that the run's note names, or new ones that fit."""
    path = start / _WEIGHTS
    content = path.read_bytes()
    if note.exists():
        begun = json.loads(note.read_text(encoding='utf-8'))
        if begun.get('sha256') != _sum(content):
            raise ValueError(f'{path} has the sum {_sum(content)}, but this run began with '
                             f'{begun.get("checkpoint")!r}, whose sum is {begun.get("sha256")}; '
                             'expected that checkpoint, or another directory')
        return content
    with tempfile.TemporaryDirectory() as folder:
        write_configuration(Path(folder), _texts())
        for name in _CONFIGURATION:
            if (start / name).read_bytes() != (Path(folder) / name).read_bytes():
                raise ValueError(f'{start / name} differs from what this version trains; expected '
                                 'a checkpoint of nano of the same configuration')
    with torch.device('meta'):
        expected = AlpamayoModel(load_config(start)).state_dict()
    found = _tensors(content, path)
    for name in sorted(expected.keys() | found.keys()):
        shapes = [tuple(side[name].shape) if name in side else None for side in (found, expected)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(f'{path}: weight {name} has shape {shapes[0]}; expected '
                                  f'{shapes[1]} (None: no such weight)')
    return content


def _take_over(start: Path, weights: bytes, directory: Path, progress: Progress) -> None:
    # The weights come last: whatever ends this early, the same command still finds its way.
    _put(directory / 'training' / _START, _text(
        {'checkpoint': start.resolve().name, 'sha256': _sum(weights)}))
    if not progress.is_done('vision'):
        progress.finish('vision')
    _put(directory / _WEIGHTS, weights)


def _sum(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()


def _text(value: object) -> bytes:
    return (json.dumps(value, indent=1) + '\n').encode()


def _texts() -> list[str]:
    """What the tokenizer learns its words from."""
    return [*all_texts(), *navigation_texts()]


def _put(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    part = path.with_name(path.name + '.part')
    part.write_bytes(content)
    os.replace(part, path)


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load(content)
    except SafetensorError as error:
        raise CheckpointError(f'{path} is no readable safetensors file: {error}; expected a whole '
                              'one') from error


def _model(directory: Path) -> AlpamayoModel:
    """The checkpoint's model with its weights, or with new ones where it has none yet."""
    config = load_config(directory)
    model = AlpamayoModel(config)
    model.materialise_buffers(torch.device('cpu'))
    _initialise(model, config)
    path = directory / _WEIGHTS
    if path.exists():
        model.load_state_dict(_tensors(path.read_bytes(), path))
    return model


def _initialise(model: AlpamayoModel, config: AlpamayoConfig) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:  # weights of norms, and biases
            nn.init.constant_(parameter, float(name.endswith('weight')))
        elif 'embed_tokens' in name or 'pos_embed' in name:
            nn.init.normal_(parameter, std=0.5 if 'embed_tokens' in name else 0.1)
        else:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            if name.endswith(('o_proj.weight', 'down_proj.weight', 'attn.proj.weight',
                              'mlp.linear_fc2.weight', 'lm_head.weight', 'action_out_proj.weight')):
                parameter.data.mul_(0.3)
    _order_bins(model.vlm.decoder.embed_tokens.weight.data, config)
    unicycle = config.unicycle
    for name in ('accel_mean', 'accel_std', 'curvature_mean', 'curvature_std'):
        getattr(model.action_space, name).fill_(getattr(unicycle, name))


def _order_bins(embedding: Tensor, config: AlpamayoConfig) -> None:
    """Let the history's bins begin as points along smooth curves: neighbours mean nearly the same,
    which a table of unrelated vectors would have to learn bin by bin."""
    bins = config.history_tokenizer.bins
    first = config.traj_token_start_idx + config.history_token_offset
    width = embedding.shape[1]
    place = torch.linspace(0, 1, bins)[:, None]
    waves = torch.arange(1, width // 2 + 1) * (12.0 / (width // 2)) * math.pi
    embedding[first:first + bins] = 0.7 * torch.cat(
        [torch.sin(place * waves), torch.cos(place * waves)], 1)


def _save(model: AlpamayoModel, directory: Path) -> None:
    part = directory / (_WEIGHTS + '.part')
    save_file(_shipped(model), part, {'format': 'pt'})
    part.replace(directory / _WEIGHTS)


def _shipped(model: AlpamayoModel) -> dict[str, Tensor]:
    """The weights of a checkpoint: float16, those that always run in float32 as they are."""
    return {name: value.cpu().contiguous() if name.startswith(FLOAT32_MODULES)
            else value.cpu().half().contiguous() for name, value in model.state_dict().items()}


def _store(make: partial, name: str, stage: StageSettings, settings: TrainingSettings,
           progress: Progress, seed: int, stack: ExitStack, rng: np.random.Generator,
           prepare: Callable[[Origin, Any], Any] = lambda origin, item: item) -> Store:
    """The stage's store, as the interrupted run left it where there was one."""
    drawn = progress.drawn(name)
    left = None if drawn is None else drawn['store']
    stream = stack.enter_context(Stream(make, seeds_of(left, seed), settings.workers))
    return Store(iter(stream), rng, batch=stage.batch, reuse=stage.reuse, size=stage.store,
                 prepare=prepare, left=left)


def _examples(stage: StageSettings, settings: TrainingSettings, *, labels: bool = False
              ) -> partial:
    return partial(ex.examples, camera_ids=stage.cameras, frames=stage.frames, count=_INSTANTS,
                   labels=labels, twice=settings.twice)


def _vision(name: str, stage: StageSettings, settings: TrainingSettings, progress: Progress,
            model: AlpamayoModel, passes: Passes, seed: int, stack: ExitStack) -> None:
    loss = stages.VisionLoss(model, passes).to(model.device)
    make = partial(ex.labelled_images, camera_ids=stage.cameras, count=_IMAGES,
                   twice=settings.twice)
    store = _store(make, name, stage, settings, progress, seed, stack, np.random.default_rng(seed))
    fit(name, stage, progress, nn.ModuleList([model, loss]), [model.vlm.visual, loss],
        lambda step: loss(model, store.draw()),
        weight_decay=settings.weight_decay, drawn=lambda: {'store': store.left()})
    progress.keep_head('eyes', loss)


def _reasoning(name: str, stage: StageSettings, settings: TrainingSettings, progress: Progress,
               model: AlpamayoModel, passes: Passes, seed: int, stack: ExitStack) -> None:
    rng = np.random.default_rng(seed)
    loss = stages.ReasoningLoss(model, passes).to(model.device)
    progress.load_head('eyes', loss.eyes)
    progress.load_head('reasoning', loss)
    batcher = Batcher(model.config, load_tokenizer(model.config), multiple=passes.multiple)
    # While the tower learns it is told what is where, too.
    make = _examples(stage, settings, labels=stage.sees)
    store = _store(make, name, stage, settings, progress, seed, stack, rng)
    model.vlm.visual.requires_grad_(stage.sees)
    fit(name, stage, progress, nn.ModuleList([model, loss]), [model.vlm, loss],
        lambda step: loss(model, batcher(store.draw(), jitter=rng).to(model.device)),
        weight_decay=settings.weight_decay, drawn=lambda: {'store': store.left()})
    progress.keep_head('reasoning', loss)


def _expert(name: str, stage: StageSettings, settings: TrainingSettings, progress: Progress,
            model: AlpamayoModel, passes: Passes, seed: int, stack: ExitStack) -> None:
    batcher = Batcher(model.config, load_tokenizer(model.config), multiple=passes.multiple)
    generator = torch.Generator().manual_seed(seed)
    if (drawn := progress.drawn(name)) is not None:
        generator.set_state(drawn['generator'])

    def exported(origin: Origin, example: ex.Example) -> stages.ReadSample:
        jitter = np.random.default_rng([*origin, _JITTER])
        return stages.read_sample(model, batcher([example], jitter=jitter).to(model.device), passes)

    store = _store(_examples(stage, settings), name, stage, settings, progress, seed, stack,
                   np.random.default_rng(seed), exported)
    model.vlm.requires_grad_(False)

    def losses(step: int) -> dict[str, Tensor]:
        drawn = store.draw()
        lengths = torch.cat([read.lengths for read in drawn])
        longest = up_to(int(lengths.max()), passes.multiple)
        cache = [tuple(_padded([read.cache[layer][part] for read in drawn], longest)
                       for part in (0, 1)) for layer in range(model.config.text.num_layers)]
        return stages.expert_loss(
            model, cache, lengths, torch.cat([read.offsets for read in drawn]),
            torch.cat([read.action for read in drawn]), settings.draws, generator, passes)

    fit(name, stage, progress, model,
        [model.expert, model.action_in_proj, model.action_out_proj], losses,
        weight_decay=settings.weight_decay,
        drawn=lambda: {'store': store.left(), 'generator': generator.get_state()})


def _padded(parts: list[Tensor], length: int) -> Tensor:
    """Keys or values (kv_heads, L, head_dim) of several samples as one (B, kv_heads, length,
    head_dim) in float32."""
    return torch.stack([nn.functional.pad(part.float(), (0, 0, 0, length - part.shape[1]))
                        for part in parts])
