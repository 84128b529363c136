"""A training run from nothing to a checkpoint, stage by stage, going on where it was left."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from alpamayo_ros.model.alpamayo import FLOAT32_MODULES, AlpamayoModel
from alpamayo_ros.model.config import AlpamayoConfig, load_config
from alpamayo_ros.model.tokenizer import load_tokenizer
from alpamayo_ros.training import examples as ex
from alpamayo_ros.training import stages
from alpamayo_ros.training.batches import Batch, Batcher, up_to
from alpamayo_ros.training.curves import draw_curves
from alpamayo_ros.training.forward import EAGER, Passes, compiled_passes
from alpamayo_ros.training.loop import LOG, Progress, fit
from alpamayo_ros.training.memory import keep_freed_memory
from alpamayo_ros.training.nano import write_configuration
from alpamayo_ros.training.settings import StageSettings, TrainingSettings
from alpamayo_ros.training.store import Store
from alpamayo_ros.training.workers import Stream
from alpamayo_ros.world.reasoning import all_texts, navigation_texts

_WEIGHTS, _START = 'model.safetensors', 'start.json'
_INSTANTS, _IMAGES = 3, 24
# Stages draw from seeds that are far apart; evaluation has its own, beyond a thousand million.
_SEEDS_PER_STAGE = 10_000_000


def train(directory: Path, settings: TrainingSettings, device: str = 'cpu',
          start: Path | None = None) -> None:
    """Train nano into ``directory`` on ``device``, or go on with the run that is there.

    ``start``: a checkpoint of nano whose weights a new run begins with; its tower sees already, so
    the first stage is left out. ``ValueError`` when the run that is there has other settings, when
    the checkpoint to start from has another configuration, or when there is nothing to compile the
    passes with.
    """
    passes = compiled_passes() if settings.compiled else EAGER
    keep_freed_memory()
    torch.manual_seed(settings.seed)
    notes = directory / 'training'
    _write_settings(notes, settings)
    if not (directory / 'config.json').exists():
        write_configuration(directory, [*all_texts(), *navigation_texts()])
    progress = Progress(notes)
    if start is not None and not (directory / _WEIGHTS).exists():
        _take_over(start, directory)
        progress.finish('vision')
    model = _model(directory).to(device)
    for index, (name, stage) in enumerate(settings.stages().items()):
        if progress.is_done(name):
            continue
        seed = settings.seed * 100_000_000 + index * _SEEDS_PER_STAGE + progress.step(name)
        run = {'vision': _vision, 'expert': _expert}.get(name, _reasoning)
        with ExitStack() as stack:
            run(name, stage, settings, progress, model, passes, seed, stack)
        _save(model, directory)
        progress.finish(name)
        draw_curves(notes / LOG, notes / 'curves.png')


def _write_settings(notes: Path, settings: TrainingSettings) -> None:
    notes.mkdir(parents=True, exist_ok=True)
    path, text = notes / 'settings.json', json.dumps(settings.as_dict(), indent=1) + '\n'
    if path.exists() and path.read_text(encoding='utf-8') != text:
        raise ValueError(f'{path} differs from the settings asked for; expected the same ones to '
                         'go on with this run, or another directory')
    path.write_text(text, encoding='utf-8')


def _take_over(start: Path, directory: Path) -> None:
    for name in ('config.json', 'vlm/tokenizer.json'):
        if (start / name).read_bytes() != (directory / name).read_bytes():
            raise ValueError(f'{start / name} differs from what this version trains; expected a '
                             'checkpoint of nano of the same configuration')
    weights = (start / _WEIGHTS).read_bytes()
    (directory / _WEIGHTS).write_bytes(weights)
    (directory / 'training' / _START).write_text(json.dumps(
        {'checkpoint': start.resolve().name, 'sha256': hashlib.sha256(weights).hexdigest()},
        indent=1) + '\n', encoding='utf-8')


def _model(directory: Path) -> AlpamayoModel:
    """The checkpoint's model with its weights, or with new ones where it has none yet."""
    config = load_config(directory)
    model = AlpamayoModel(config)
    model.materialise_buffers(torch.device('cpu'))
    _initialise(model, config)
    if (directory / _WEIGHTS).exists():
        model.load_state_dict(load_file(directory / _WEIGHTS))
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
    """Write the weights: float16, those that always run in float32 as they are."""
    weights = {name: value.cpu().contiguous() if name.startswith(FLOAT32_MODULES)
               else value.cpu().half().contiguous() for name, value in model.state_dict().items()}
    part = directory / (_WEIGHTS + '.part')
    save_file(weights, part, {'format': 'pt'})
    part.replace(directory / _WEIGHTS)


def _stream(make: partial, seed: int, settings: TrainingSettings, stack: ExitStack
            ) -> Iterator[object]:
    return chain.from_iterable([stack.enter_context(Stream(make, seed, settings.workers))])


def _vision(name: str, stage: StageSettings, settings: TrainingSettings, progress: Progress,
            model: AlpamayoModel, passes: Passes, seed: int, stack: ExitStack) -> None:
    rng = np.random.default_rng(seed)
    loss = stages.VisionLoss(model, passes).to(model.device)
    make = partial(ex.labelled_images, camera_ids=stage.cameras, count=_IMAGES,
                   twice=settings.twice)
    store = Store(_stream(make, seed, settings, stack), rng, batch=stage.batch, reuse=stage.reuse,
                  size=stage.store)
    fit(name, stage, progress, nn.ModuleList([model, loss]), [model.vlm.visual, loss],
        lambda step: loss(model, store.draw()), weight_decay=settings.weight_decay)
    progress.keep_head('eyes', loss)


def _reasoning(name: str, stage: StageSettings, settings: TrainingSettings, progress: Progress,
               model: AlpamayoModel, passes: Passes, seed: int, stack: ExitStack) -> None:
    rng = np.random.default_rng(seed)
    loss = stages.ReasoningLoss(model, passes).to(model.device)
    progress.load_head('eyes', loss.eyes)
    progress.load_head('reasoning', loss)
    batcher = Batcher(model.config, load_tokenizer(model.config), multiple=passes.multiple)
    # While the tower learns it is told what is where, too.
    store = _example_store(stage, settings, seed, stack, rng, labels=stage.sees)
    model.vlm.visual.requires_grad_(stage.sees)
    fit(name, stage, progress, nn.ModuleList([model, loss]), [model.vlm, loss],
        lambda step: loss(model, batcher(store.draw(), jitter=rng).to(model.device)),
        weight_decay=settings.weight_decay)
    progress.keep_head('reasoning', loss)


def _expert(name: str, stage: StageSettings, settings: TrainingSettings, progress: Progress,
            model: AlpamayoModel, passes: Passes, seed: int, stack: ExitStack) -> None:
    rng = np.random.default_rng(seed)
    batcher = Batcher(model.config, load_tokenizer(model.config), multiple=passes.multiple)
    generator = torch.Generator(model.device).manual_seed(seed)

    def exported(example: ex.Example) -> tuple[list[tuple[Tensor, Tensor]], Batch]:
        batch = batcher([example], jitter=rng).to(model.device)
        return stages.export_cache(model, batch, passes)[0], batch

    store = _example_store(stage, settings, seed, stack, rng, exported)
    model.vlm.requires_grad_(False)

    def losses(step: int) -> dict[str, Tensor]:
        drawn = store.draw()
        lengths = torch.cat([batch.lengths for _, batch in drawn])
        longest = up_to(int(lengths.max()), passes.multiple)
        cache = [tuple(_padded([caches[layer][part] for caches, _ in drawn], longest)
                       for part in (0, 1)) for layer in range(model.config.text.num_layers)]
        return stages.expert_loss(
            model, cache, lengths, torch.cat([batch.offsets for _, batch in drawn]),
            torch.cat([batch.action for _, batch in drawn]), settings.draws, generator, passes)

    fit(name, stage, progress, model,
        [model.expert, model.action_in_proj, model.action_out_proj], losses,
        weight_decay=settings.weight_decay)


def _padded(parts: list[Tensor], length: int) -> Tensor:
    """Keys or values (kv_heads, L, head_dim) of several samples as one (B, kv_heads, length,
    head_dim) in float32."""
    return torch.stack([nn.functional.pad(part.float(), (0, 0, 0, length - part.shape[1]))
                        for part in parts])


def _example_store(stage: StageSettings, settings: TrainingSettings, seed: int, stack: ExitStack,
                   rng: np.random.Generator, prepare=lambda item: item, labels: bool = False
                   ) -> Store:
    make = partial(ex.examples, camera_ids=stage.cameras, frames=stage.frames, count=_INSTANTS,
                   labels=labels, twice=settings.twice)
    return Store(_stream(make, seed, settings, stack), rng, batch=stage.batch, reuse=stage.reuse,
                 size=stage.store, prepare=prepare)
