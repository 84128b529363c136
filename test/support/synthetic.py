"""Checkpoints of other sizes than the golden ones, with cases computed by ``ReferenceModel``.

The velocity field is smooth here (low frequencies, small output), so a right implementation agrees
to 1e-4 after the whole loop, and nothing is left to judgement.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from golden_data import GOLDEN
from reference_model import ReferenceModel, spread_weights
from reference_unicycle import reference_rollout, reference_v0
from safetensors.torch import save_file
from torch import Tensor

BACKBONE = GOLDEN / 'vlm'
TRAJ_START = 414
"""Tokens of the golden backbone's tokenizer; the trajectory tokens follow."""


@dataclass(frozen=True)
class Sizes:
    """What differs between the synthetic checkpoints."""

    model_type: str
    text: dict
    vision: dict
    expert: dict
    projection: dict
    space: dict
    bins: int
    future_bins: int
    steps: int
    causal: bool = False


DEEP = Sizes(
    model_type='alpamayo_r1',
    text=dict(hidden_size=96, intermediate_size=160, num_hidden_layers=5, num_attention_heads=6,
              num_key_value_heads=3, head_dim=24, attention_bias=True, rms_norm_eps=1e-5,
              rope_theta=1e6, rope_scaling=dict(rope_type='default', mrope_interleaved=True,
                                                mrope_section=[4, 4, 4])),
    vision=dict(depth=3, hidden_size=48, intermediate_size=80, num_heads=4, patch_size=8,
                spatial_merge_size=2, out_hidden_size=96, num_position_embeddings=144,
                deepstack_visual_indexes=[0, 2]),
    expert=dict(hidden_size=40, intermediate_size=72, num_attention_heads=9,
                num_key_value_heads=3, head_dim=24),
    projection=dict(hidden_size=56, num_enc_layers=2, max_freq=2.0, num_fourier_feats=12),
    space=dict(n_waypoints=32, dt=0.2, accel_mean=-0.1, accel_std=1.1, curvature_mean=0.002,
               curvature_std=0.05),
    bins=50, future_bins=70, steps=7)
"""As ``alpamayo_r1``: deeper, biased attention, small patches, 32 waypoints of 0.2 s."""

WIDE = Sizes(
    model_type='alpamayo1_5',
    text=dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=8,
              num_key_value_heads=2, head_dim=16, attention_bias=False, rms_norm_eps=1e-6,
              rope_theta=5e5, rope_scaling=dict(rope_type='default', mrope_interleaved=True,
                                                mrope_section=[3, 3, 2])),
    vision=dict(depth=2, hidden_size=32, intermediate_size=64, num_heads=2, patch_size=8,
                spatial_merge_size=3, out_hidden_size=64, num_position_embeddings=100,
                deepstack_visual_indexes=[1]),
    expert=dict(hidden_size=72, intermediate_size=48, num_attention_heads=4,
                num_key_value_heads=2, head_dim=16),
    projection=dict(hidden_size=24, num_enc_layers=4, max_freq=1.5, num_fourier_feats=6),
    space=dict(n_waypoints=21, dt=0.25, accel_mean=0.2, accel_std=0.5, curvature_mean=-0.001,
               curvature_std=0.02),
    bins=90, future_bins=30, steps=6)
"""As ``alpamayo1_5``: wider attention groups, 3 x 3 merging, one deepstack layer."""


def configs(sizes: Sizes) -> tuple[dict, dict]:
    """``config.json`` and the backbone's."""
    total = sizes.bins + sizes.future_bins
    added = {name: TRAJ_START + total + place for name, place in
             (('history', 15), ('future', 16), ('history_start', 5), ('future_start', 12),
              ('history_end', 7), ('future_end', 14))}
    package = sizes.model_type
    config = dict(
        model_type=sizes.model_type, vlm_name_or_path='backbone',
        vocab_size=TRAJ_START + total + 28 + 5, traj_vocab_size=total,
        traj_token_start_idx=TRAJ_START, traj_token_ids=added, add_special_tokens=True,
        tokens_per_history_traj=48, tokens_per_future_traj=2 * sizes.space['n_waypoints'],
        hist_traj_tokenizer_cfg=dict(_target_=f'{package}.models.DeltaTrajectoryTokenizer',
                                     num_bins=sizes.bins, ego_xyz_min=[-3, -2, -5],
                                     ego_xyz_max=[5, 2, 5]),
        traj_tokenizer_cfg=dict(_target_=f'{package}.action_space.DiscreteTrajectoryTokenizer',
                                num_bins=sizes.future_bins, dims_min=[-8, -9], dims_max=[8, 9]),
        action_space_cfg=dict(_target_=f'{package}.UnicycleAccelCurvatureActionSpace',
                              **sizes.space),
        diffusion_cfg=dict(num_inference_steps=sizes.steps),
        action_in_proj_cfg=sizes.projection, expert_cfg=sizes.expert,
        expert_non_causal_attention=not sizes.causal, min_pixels=None, max_pixels=None)
    backbone = json.loads((BACKBONE / 'config.json').read_text())
    backbone['text_config'] |= sizes.text
    backbone['vision_config'] |= sizes.vision
    return config, backbone


def make_model(sizes: Sizes, seed: int = 0) -> ReferenceModel:
    """A reference model with weights under which every part matters."""
    model = ReferenceModel(*configs(sizes), BACKBONE)
    generator = torch.Generator().manual_seed(seed)
    for prefix, module in model.modules().items():
        spread_weights(module, generator, gain=0.4 if prefix == 'action_out_proj.' else 1.0)
    if sizes.model_type == 'alpamayo_r1':
        # Stored frequencies are what counts, not those the configuration implies.
        model.projection.freqs = [freqs * (1 + 0.01 * index) for index, freqs in
                                  enumerate(model.projection.freqs)]
    return model


def write_checkpoint(model: ReferenceModel, directory: Path, *, shards: int = 1) -> Path:
    """Write configuration, tokenizer and weights, in ``shards`` files with an index if several."""
    backbone = directory / 'backbone'
    shutil.copytree(BACKBONE, backbone, dirs_exist_ok=True)
    (backbone / 'config.json').write_text(json.dumps(
        json.loads((BACKBONE / 'config.json').read_text()) | {
            'text_config': _without_vocab(model), 'vision_config': model.vlm_config[
                'vision_config']}))
    (directory / 'config.json').write_text(json.dumps(model.config))
    write_weights(model.state_dict(), directory, shards)
    return directory


def write_weights(weights: dict[str, Tensor], directory: Path, shards: int = 1) -> None:
    """One file, or several with an index."""
    if shards == 1:
        save_file(weights, directory / 'model.safetensors')
        return
    weight_map = {}
    for shard in range(shards):
        name = f'model-{shard + 1:05d}-of-{shards:05d}.safetensors'
        part = {key: weights[key] for key in sorted(weights)[shard::shards]}
        save_file(part, directory / name)
        weight_map |= dict.fromkeys(part, name)
    (directory / 'model.safetensors.index.json').write_text(
        json.dumps({'metadata': {}, 'weight_map': weight_map}))


def _without_vocab(model: ReferenceModel) -> dict:
    # The backbone's own vocabulary is smaller than the checkpoint's.
    return {**copy.deepcopy(model.vlm_config['text_config']), 'vocab_size': TRAJ_START}


def pictures(count: int, height: int, width: int, seed: int) -> list[np.ndarray]:
    """Smooth random RGB images (height, width, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j][..., None]
    images = []
    for _ in range(count):
        a, b, c = random.uniform(1, 9, (3, 3))
        image = 127 + 90 * np.sin(a * x + b * y + c) + random.normal(0, 12, (height, width, 3))
        images.append(image.clip(0, 255).astype(np.uint8))
    return images


def drive(speed: float, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """A history (16, 3) m, (16, 3, 3): constant speed, m/s, and yaw rate, rad/s, on a slope."""
    times = 0.1 * np.arange(-15, 1)
    theta = turn * times
    along = speed * times
    xyz = np.stack([along * np.cos(theta / 2), along * np.sin(theta / 2), 0.05 * along], axis=1)
    rot = np.zeros((16, 3, 3))
    rot[:, 0, 0], rot[:, 0, 1] = np.cos(theta), -np.sin(theta)
    rot[:, 1, 0], rot[:, 1, 1], rot[:, 2, 2] = np.sin(theta), np.cos(theta), 1
    return xyz, rot


@dataclass(frozen=True)
class Wish:
    """A case to be computed. ``ends``: per candidate after how many generated tokens the end token
    comes, None for greedy; ``total``: generated tokens of every row; an end of 0 never comes.
    ``images`` and ``history`` (16, 3) m, (16, 3, 3) take the place of made-up ones."""

    cameras: Sequence[int]
    frames_per_camera: int
    size: tuple[int, int]
    total: int
    ends: Sequence[int] | None = None
    navigation: str | None = None
    guidance: float = 0.0
    speed: float = 6.0
    turn: float = 0.1
    min_pixels: int = 1500
    max_pixels: int = 4000
    seed: int = 0
    images: Sequence[np.ndarray] | None = None
    history: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Inputs:
    """What goes into the model for a wish; ``plain``: the prompt without navigation."""

    frames: list[np.ndarray]
    pixels: Tensor
    grid: Tensor
    history: tuple[np.ndarray, np.ndarray]
    text: str
    ids: Tensor
    fused: Tensor
    plain: Tensor


def inputs(model: ReferenceModel, wish: Wish) -> Inputs:
    """Frames, prompt and history."""
    frames = list(wish.images or pictures(len(wish.cameras) * wish.frames_per_camera, *wish.size,
                                          wish.seed))
    pixels, grid = model.patches(frames, wish.min_pixels, wish.max_pixels)
    history = wish.history or drive(wish.speed, wish.turn)
    texts = [model.prompt_text(wish.cameras, wish.frames_per_camera, navigation)
             for navigation in (wish.navigation, None)]
    ids = [model.prompt_ids(text, grid) for text in texts]
    return Inputs(frames, pixels, grid, history, texts[0], ids[0],
                  model.fuse(ids[0], history[0]), model.fuse(ids[1], history[0]))


def teach_end(model: ReferenceModel, wish: Wish, after: int) -> None:
    """Change the head so that the greedy reasoning of a wish ends after at most that many
    tokens."""
    given = inputs(model, wish)
    tokens = model.greedy(given.fused, given.pixels, given.grid, after - 1)
    ids = torch.cat([given.fused, torch.tensor(tokens, dtype=torch.long)])
    hidden = model.read(ids, given.pixels, given.grid)[0].last_hidden_state[0, -1]
    highest = model.vlm.lm_head(hidden).max()
    with torch.no_grad():
        model.vlm.lm_head.weight[model.config['traj_token_ids']['future_start']] = (
            (highest + 1) * hidden / hidden.square().sum())


def write_case(model: ReferenceModel, directory: Path, name: str, wish: Wish) -> None:
    """Compute a case and add it to the directory."""
    config, given = model.config, inputs(model, wish)
    generator = torch.Generator().manual_seed(wish.seed)
    rows = _rows(model, given, wish, generator)
    end = config['traj_token_ids']['future_start']
    ends = [row.index(end) + 1 if end in row else -1 for row in rows]
    space, steps = config['action_space_cfg'], config['diffusion_cfg']['num_inference_steps']
    noise = torch.randn(len(rows), space['n_waypoints'], 2, generator=generator)
    action = []
    for start, row in zip(noise, rows, strict=True):
        seen = model.seen(given.fused, row, given.pixels, given.grid)
        without = (model.seen(given.plain, row, given.pixels, given.grid)
                   if wish.guidance else None)
        action.append(model.integrate(start, seen, steps, without, wish.guidance))
    xyz, rot = given.history
    v0 = reference_v0(xyz, rot, space['dt'])
    paths = [reference_rollout(one.numpy(), v0, space, xyz[-1, 2]) for one in action]
    tensors = dict(
        frames=torch.from_numpy(np.stack(given.frames)).permute(0, 3, 1, 2),
        pixel_values=given.pixels, image_grid_thw=given.grid, input_ids=given.ids[None],
        fused_ids=given.fused[None], ego_history_xyz=torch.from_numpy(xyz)[None, None].float(),
        ego_history_rot=torch.from_numpy(rot)[None, None].float(),
        sequences=torch.cat([given.fused.expand(len(rows), -1), torch.tensor(rows)], dim=1),
        noise=noise, action=torch.stack(action),
        pred_xyz=torch.from_numpy(np.stack([path for path, _ in paths]))[None, None],
        pred_rot=torch.from_numpy(np.stack([turns for _, turns in paths]))[None, None])
    save_file({key: value.contiguous() for key, value in tensors.items()},
              directory / f'{name}.safetensors')
    cases = directory / 'cases.json'
    found = json.loads(cases.read_text()) if cases.exists() else {}
    found[name] = dict(
        text=given.text, num_traj_samples=len(rows), top_k=1 if wish.ends is None else None,
        max_generation_length=wish.total, traj_future_start_at=ends,
        cfg=dict(use_classifier_free_guidance=True, inference_guidance_weight=wish.guidance)
        if wish.guidance else None,
        cot=[_cot(model.tokenizer.decode(row[:stop] if stop > 0 else row,
                                         skip_special_tokens=False))
             for row, stop in zip(rows, ends, strict=True)],
        camera_indices=list(wish.cameras), frames_per_camera=wish.frames_per_camera,
        nav_text=wish.navigation, min_pixels=wish.min_pixels, max_pixels=wish.max_pixels)
    cases.write_text(json.dumps(found))


def _rows(model: ReferenceModel, given: Inputs, wish: Wish, generator: torch.Generator
          ) -> list[list[int]]:
    """Generated tokens of every candidate."""
    if wish.ends is None:
        return [model.greedy(given.fused, given.pixels, given.grid, wish.total)]
    rows = torch.randint(97, 123, (len(wish.ends), wish.total), generator=generator).tolist()
    for row, stop in zip(rows, wish.ends, strict=True):
        if stop:
            row[stop - 1] = model.config['traj_token_ids']['future_start']
        if stop > 2:
            row[stop - 2] = model.tokenizer.token_to_id('<|cot_end|>')
    return rows


def _cot(text: str) -> str:
    if '<|cot_end|>' not in text:
        return ''
    return text.split('<|cot_end|>')[0].split('<|cot_start|>')[-1].strip()
