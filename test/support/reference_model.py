"""The model a second time, put together from transformers' modules and written plainly.

Nothing of alpamayo_ros is used here. Every candidate is computed alone, from a cache that holds
exactly the tokens it may see, so that nothing has to be masked or shared; the kinematics are loops
in float64. Slow and simple on purpose: it is what the package is compared with.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.cache_utils import DynamicCache
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

SPECIAL_R1 = (
    'prompt_start prompt_end image_start image_pre_tkn image_end traj_history_start '
    'traj_history_pre_tkn traj_history_end cot_start cot_end meta_action_start meta_action_end '
    'traj_future_start traj_future_pre_tkn traj_future_end traj_history traj_future image_pad '
    'vectorized_wm vectorized_wm_start vectorized_wm_end vectorized_wm_pre_tkn route_start '
    'route_pad route_end question_start question_end answer_start answer_end').split()
PADDED_IN_1_5 = (3, 6, 10, 11, 13, 18, 19, 20, 21)
CAMERA_NAMES = ('Front left camera', 'Front camera', 'Front right camera', 'Rear left camera',
                'Rear camera', 'Rear right camera', 'Front telephoto camera')


def special_names(model_type: str) -> list[str]:
    """Names of the added special tokens, in order."""
    names = list(SPECIAL_R1)
    if model_type == 'alpamayo1_5':
        for index, place in enumerate(PADDED_IN_1_5):
            names[place] = f'_padding_{index}'
    return names


def load_reference_tokenizer(directory: Path, config: dict) -> Tokenizer:
    """The backbone's tokenizer with the added tokens, through the tokenizers library."""
    tokenizer = Tokenizer.from_file(str(directory / 'tokenizer.json'))
    tokenizer.add_tokens([f'<i{i}>' for i in range(config['traj_vocab_size'])])
    tokenizer.add_special_tokens([AddedToken(f'<|{name}|>', special=True, normalized=False)
                                  for name in special_names(config['model_type'])])
    return tokenizer


def spread_weights(module: nn.Module, generator: torch.Generator, gain: float = 1.0) -> None:
    """Weights under which every part matters: activations of size one, norms and biases not
    trivial."""
    for name, parameter in sorted(module.named_parameters()):
        values = torch.randn(parameter.shape, generator=generator)
        if 'norm' in name and name.endswith('weight'):
            values = 1 + 0.1 * values
        elif name.endswith('bias'):
            values = 0.1 * values
        elif 'embed' not in name:
            values = gain * values / math.sqrt(parameter[0].numel())
        with torch.no_grad():
            parameter.copy_(values)


class InputProjection(nn.Module):
    """``action_in_proj``; the trunk's positions are those of the weight names."""

    def __init__(self, config: dict, width: int) -> None:
        super().__init__()
        hidden, layers = config['hidden_size'], config['num_enc_layers']
        self.half = config['num_fourier_feats'] // 2
        trunk = {0: nn.Linear(6 * self.half, hidden)}
        for layer in range(layers):
            trunk[2 + 3 * layer] = nn.RMSNorm(hidden, eps=1e-5)
            trunk[3 + 3 * layer] = nn.Linear(hidden, hidden if layer < layers - 1 else width)
        self.encoder = nn.ModuleDict({'trunk': nn.ModuleDict(
            {str(index): part for index, part in trunk.items()})})
        self.norm = nn.LayerNorm(width)
        exponents = torch.linspace(0, 1, self.half) if self.half > 1 else torch.zeros(1)
        self.freqs = [(config['max_freq'] ** exponents)[None] for _ in range(3)]

    def forward(self, action: Tensor, time: float) -> Tensor:
        """action (T, 2) to (T, width)."""
        parts = []
        values = (action[:, 0], action[:, 1], torch.full((len(action),), time))
        for value, freqs in zip(values, self.freqs, strict=True):
            angle = 2 * torch.pi * value[:, None] * freqs
            parts += [torch.sin(angle) * math.sqrt(2), torch.cos(angle) * math.sqrt(2)]
        trunk = self.encoder['trunk']
        x = F.silu(trunk['0'](torch.cat(parts, dim=1)))
        last = max(int(index) for index in trunk)
        for index in range(2, last, 3):
            x = trunk[str(index + 1)](trunk[str(index)](x))
            x = F.silu(x) if index + 1 < last else x
        return self.norm(x)


@dataclass
class Seen:
    """A candidate's cache and the position of its first waypoint."""

    cache: DynamicCache
    position: int


class ReferenceModel:
    """VLM, expert and projections of one configuration."""

    def __init__(self, config: dict, vlm_config: dict, tokenizer_directory: Path) -> None:
        self.config = config
        text = {**vlm_config['text_config'], 'vocab_size': config['vocab_size']}
        self.vlm_config = {**vlm_config, 'text_config': text}
        hf = Qwen3VLConfig(**copy.deepcopy(self.vlm_config))
        hf._attn_implementation = 'eager'
        self.vlm = Qwen3VLForConditionalGeneration(hf).eval()
        expert = Qwen3VLTextConfig(**{**copy.deepcopy(text), **config['expert_cfg']})
        expert._attn_implementation = 'eager'
        self.expert = Qwen3VLTextModel(expert).eval()
        del self.expert.embed_tokens
        width = expert.hidden_size
        self.projection = InputProjection(config['action_in_proj_cfg'], width)
        self.output = nn.Linear(width, 2)
        self.tokenizer = load_reference_tokenizer(tokenizer_directory, config)
        self.image_token = vlm_config['image_token_id']

    @classmethod
    def from_checkpoint(cls, checkpoint: Path) -> ReferenceModel:
        """Of a checkpoint directory."""
        config = json.loads((checkpoint / 'config.json').read_text())
        backbone = checkpoint / config['vlm_name_or_path']
        model = cls(config, json.loads((backbone / 'config.json').read_text()), backbone)
        weights = {name: value for path in checkpoint.glob('model*.safetensors')
                   for name, value in load_file(path).items()}
        for prefix, module in model.modules().items():
            own = {name[len(prefix):]: value for name, value in weights.items()
                   if name.startswith(prefix) and not name.endswith('.freqs')}
            module.load_state_dict(own, strict=True)
        for index, name in enumerate(model.freq_names()):
            model.projection.freqs[index] = weights.get(name, model.projection.freqs[index])
        return model

    @staticmethod
    def freq_names() -> list[str]:
        return ['action_in_proj.sinus.0.freqs', 'action_in_proj.sinus.1.freqs',
                'action_in_proj.timestep_fourier_encoder.freqs']

    def modules(self) -> dict[str, nn.Module]:
        """Modules by the prefix of their weights' names."""
        return {'vlm.': self.vlm, 'expert.': self.expert, 'action_in_proj.': self.projection,
                'action_out_proj.': self.output}

    def state_dict(self) -> dict[str, Tensor]:
        """The weights under the checkpoint's names."""
        weights = {prefix + name: value.detach().clone().contiguous()
                   for prefix, module in self.modules().items()
                   for name, value in module.state_dict().items()}
        if self.config['model_type'] == 'alpamayo_r1':
            weights |= dict(zip(self.freq_names(), self.projection.freqs, strict=True))
        space = self.config['action_space_cfg']
        return weights | {f'action_space.{name}': torch.tensor(space[name]) for name in
                          ('accel_mean', 'accel_std', 'curvature_mean', 'curvature_std')}

    # What goes in.

    def patches(self, frames: Sequence[np.ndarray], min_pixels: int, max_pixels: int
                ) -> tuple[Tensor, Tensor]:
        """``pixel_values`` and ``image_grid_thw`` of RGB images (H, W, 3)."""
        vision = self.vlm_config['vision_config']
        processor = Qwen2VLImageProcessorPil(
            patch_size=vision['patch_size'], merge_size=vision['spatial_merge_size'],
            temporal_patch_size=vision['temporal_patch_size'], image_mean=[0.5] * 3,
            image_std=[0.5] * 3, size={'shortest_edge': min_pixels, 'longest_edge': max_pixels})
        batch = processor(images=list(frames), return_tensors='pt')
        return batch['pixel_values'].float(), batch['image_grid_thw']

    def prompt_text(self, cameras: Sequence[int], frames_per_camera: int,
                    navigation: str | None) -> str:
        named = self.config['model_type'] == 'alpamayo1_5'
        user = ''
        for camera in cameras:
            user += f'{CAMERA_NAMES[camera]}: ' if named else ''
            for frame in range(frames_per_camera):
                user += f'frame {frame} ' if named else ''
                user += '<|vision_start|><|image_pad|><|vision_end|>'
        user += ('<|traj_history_start|>' + '<|traj_history|>' * 48 + '<|traj_history_end|>')
        user += f'<|route_start|>{navigation}<|route_end|>' if navigation else ''
        user += ('output the chain-of-thought reasoning of the driving process, then output the '
                 'future trajectory.')
        return ('<|im_start|>system\nYou are a driving assistant that generates safe and accurate '
                f'actions.<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n'
                '<|im_start|>assistant\n<|cot_start|>')

    def prompt_ids(self, text: str, grid: Tensor) -> Tensor:
        """Ids (L,) with as many placeholders as image tokens."""
        merge = self.vlm_config['vision_config']['spatial_merge_size']
        for rows_columns in (grid.prod(-1) // merge ** 2).tolist():
            text = text.replace('<|image_pad|>', '<|placeholder|>' * rows_columns, 1)
        text = text.replace('<|placeholder|>', '<|image_pad|>')
        return torch.tensor(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def history_ids(self, xyz: np.ndarray) -> list[int]:
        """The 48 ids of the ego history (16, 3) m."""
        config, future = self.config, self.config['traj_tokenizer_cfg']
        history = config.get('hist_traj_tokenizer_cfg')
        extra = future['num_bins'] if history else 0
        history = history or future
        low, high = history['ego_xyz_min'], history['ego_xyz_max']
        bins, last, ids = history['num_bins'], np.zeros(3, np.float32), []
        for point in xyz.astype(np.float32):
            for axis in range(3):
                share = (point[axis] - last[axis] - low[axis]) / (high[axis] - low[axis])
                token = min(max(round(float(share) * (bins - 1)), 0), bins - 1)
                ids.append(token + config['traj_token_start_idx'] + extra)
            last = point
        return ids

    def fuse(self, ids: Tensor, xyz: np.ndarray) -> Tensor:
        fused = ids.clone()
        fused[ids == self.config['traj_token_ids']['history']] = torch.tensor(
            self.history_ids(xyz))
        return fused

    # The two stages.

    @torch.no_grad()
    def read(self, ids: Tensor, pixel_values: Tensor, grid: Tensor):
        """Run all of ids (L,) at once: the output with cache, and the position of the next."""
        self.vlm.model.rope_deltas = None
        output = self.vlm.model(
            input_ids=ids[None], pixel_values=pixel_values, image_grid_thw=grid,
            mm_token_type_ids=(ids == self.image_token).int()[None], use_cache=True)
        return output, len(ids) + int(self.vlm.model.rope_deltas)

    @torch.no_grad()
    def logits(self, ids: Tensor, pixel_values: Tensor, grid: Tensor) -> Tensor:
        """Logits (L, vocab), the trajectory tokens hidden."""
        output, _ = self.read(ids, pixel_values, grid)
        logits = self.vlm.lm_head(output.last_hidden_state[0])
        start = self.config['traj_token_start_idx']
        logits[:, start:start + self.config['traj_vocab_size']] = -torch.inf
        return logits

    def greedy(self, ids: Tensor, pixel_values: Tensor, grid: Tensor, limit: int) -> list[int]:
        """Everything anew for every token; ends one token after the end token."""
        tokens: list[int] = []
        end = self.config['traj_token_ids']['future_start']
        while len(tokens) < limit and (len(tokens) < 2 or tokens[-2] != end):
            logits = self.logits(torch.cat([ids, torch.tensor(tokens, dtype=torch.long)]),
                                 pixel_values, grid)[-1]
            best = torch.topk(logits, 2)
            if float(best.values[0] - best.values[1]) < 1e-3:
                raise ValueError('two tokens are equally likely; choose another seed')
            tokens.append(int(best.indices[0]))
        return tokens

    def seen(self, ids: Tensor, tokens: Sequence[int], pixel_values: Tensor, grid: Tensor) -> Seen:
        """What a candidate sees after its generated tokens: up to and with its end token. Where
        none came, or it came last, the last token was never run, but has its position."""
        end = self.config['traj_token_ids']['future_start']
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        ran = min(length, len(tokens) - 1)
        everything = torch.cat([ids, torch.tensor(tokens[:ran], dtype=torch.long)])
        output, after = self.read(everything, pixel_values, grid)
        return Seen(output.past_key_values, after + length - ran)

    @torch.no_grad()
    def velocity(self, x: Tensor, time: float, seen: Seen) -> Tensor:
        """x (T, 2) to (T, 2)."""
        count, past = len(x), seen.cache.get_seq_length()
        mask = torch.zeros(1, 1, count, past + count)
        if not self.config.get('expert_non_causal_attention', True):
            mask[..., past:] = torch.full((count, count), torch.finfo().min).triu(1)
        positions = (seen.position + torch.arange(count)).expand(3, 1, -1)
        hidden = self.expert(
            inputs_embeds=self.projection(x, time)[None], position_ids=positions,
            attention_mask=mask, past_key_values=copy.deepcopy(seen.cache),
            use_cache=True).last_hidden_state
        return self.output(hidden[0])

    def integrate(self, noise: Tensor, seen: Seen, steps: int, without: Seen | None = None,
                  weight: float = 0.0) -> Tensor:
        """noise (T, 2) to the action (T, 2)."""
        x = noise
        for step in range(steps):
            velocity = self.velocity(x, step / steps, seen)
            if without is not None:
                velocity = (1 - weight) * self.velocity(x, step / steps, without) \
                    + weight * velocity
            x = x + velocity / steps
        return x
