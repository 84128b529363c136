"""Sizes of the model's parts, and reading them from a configuration.

Errors are ``CheckpointError`` and name the key, the value and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alpamayo_ros.errors import CheckpointError


def get(config: Mapping[str, Any], key: str, where: str, kind: type = int, *,
         default: Any = None, least: float = 1) -> Any:
    """A value of ``config``; where it is null or absent, ``default``. Integers must be at least
    ``least``, numbers (``kind`` float) finite and above 0."""
    value = config.get(key)
    if value is None:
        if default is None:
            raise CheckpointError(
                f"{where} lacks '{key}'; expected a value of type {kind.__name__}")
        return default
    accepted = (int, float) if kind is float else kind
    wrong = not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool)
    expected = kind.__name__
    if kind is int and not wrong:
        wrong, expected = value < least, f'at least {least}'
    if kind is float and not wrong:
        value = float(value)
        wrong, expected = not (math.isfinite(value) and value > 0), 'a finite number above 0'
    if wrong:
        raise CheckpointError(f"{where}: '{key}' is {value!r}; expected {expected}")
    return value


@dataclass(frozen=True)
class TextGeometry:
    """Sizes of a Qwen3-VL text decoder, or of the expert, which has the same layers."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float
    mrope_section: tuple[int, int, int]
    rms_norm_eps: float
    attention_bias: bool
    vocab_size: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> TextGeometry:
        """Read a ``text_config``, in either of the two ways transformers has written RoPE."""
        key = 'rope_parameters' if config.get('rope_parameters') else 'rope_scaling'
        rope = get(config, key, where, dict)
        theta = get({'rope_theta': config.get('rope_theta'), **rope}, 'rope_theta', where, float)
        section = get(rope, 'mrope_section', f"{where}: '{key}'", list)
        if len(section) != 3 or not all(type(size) is int and size >= 0 for size in section):
            raise CheckpointError(f"{where}: 'mrope_section' is {section!r}; expected three sizes")
        if rope.get('rope_type', 'default') != 'default' or not rope.get('mrope_interleaved', True):
            raise CheckpointError(f'{where}: RoPE is {rope!r}; expected the interleaved default')
        if config.get('hidden_act', 'silu') != 'silu':
            raise CheckpointError(f"{where}: 'hidden_act' is {config['hidden_act']!r}; expected "
                                  "'silu'")
        geometry = cls(
            hidden_size=get(config, 'hidden_size', where),
            intermediate_size=get(config, 'intermediate_size', where),
            num_layers=get(config, 'num_hidden_layers', where),
            num_heads=get(config, 'num_attention_heads', where),
            num_kv_heads=get(config, 'num_key_value_heads', where),
            head_dim=get(config, 'head_dim', where),
            rope_theta=theta, mrope_section=tuple(section),
            rms_norm_eps=get(config, 'rms_norm_eps', where, float, default=1e-6),
            attention_bias=bool(config.get('attention_bias', False)),
            vocab_size=get(config, 'vocab_size', where))
        if geometry.num_heads % geometry.num_kv_heads:
            raise CheckpointError(f"{where}: 'num_attention_heads' is {geometry.num_heads}; "
                                  f"expected a multiple of the {geometry.num_kv_heads} KV heads")
        if 2 * sum(geometry.mrope_section) != geometry.head_dim:
            raise CheckpointError(f"{where}: 'mrope_section' is {list(section)}; expected sizes "
                                  f"that add up to half of head_dim {geometry.head_dim}")
        return geometry


@dataclass(frozen=True)
class VisionGeometry:
    """Sizes of a Qwen3-VL vision tower."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    in_channels: int
    patch_size: int
    spatial_merge_size: int
    temporal_patch_size: int
    out_hidden_size: int
    num_position_embeddings: int
    deepstack_indexes: tuple[int, ...]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> VisionGeometry:
        """Read a ``vision_config``."""
        if config.get('hidden_act', 'gelu_pytorch_tanh') != 'gelu_pytorch_tanh':
            raise CheckpointError(f"{where}: 'hidden_act' is {config['hidden_act']!r}; expected "
                                  "'gelu_pytorch_tanh'")
        indexes = tuple(get(config, 'deepstack_visual_indexes', where, list))
        names = ('depth', 'hidden_size', 'intermediate_size', 'num_heads', 'in_channels',
                 'patch_size', 'spatial_merge_size', 'temporal_patch_size', 'out_hidden_size',
                 'num_position_embeddings')
        geometry = cls(**{name: get(config, name, where) for name in names},
                       deepstack_indexes=indexes)
        if geometry.hidden_size % (4 * geometry.num_heads):
            raise CheckpointError(f"{where}: 'hidden_size' is {geometry.hidden_size}; expected a "
                                  f'multiple of 4 times the {geometry.num_heads} heads')
        if math.isqrt(geometry.num_position_embeddings) ** 2 != geometry.num_position_embeddings:
            raise CheckpointError(f"{where}: 'num_position_embeddings' is "
                                  f'{geometry.num_position_embeddings}; expected a square')
        if not set(indexes) <= set(range(geometry.depth)) or len(set(indexes)) != len(indexes):
            raise CheckpointError(f"{where}: 'deepstack_visual_indexes' is {list(indexes)}; "
                                  f'expected different ones of the {geometry.depth} blocks')
        return geometry

    @property
    def patch_values(self) -> int:
        """Values in one flattened patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size ** 2


@dataclass(frozen=True)
class ActionProjectionGeometry:
    """``action_in_proj_cfg``."""

    hidden_size: int
    num_enc_layers: int
    max_freq: float
    num_fourier_feats: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> ActionProjectionGeometry:
        """Read an ``action_in_proj_cfg``."""
        return cls(hidden_size=get(config, 'hidden_size', where),
                   num_enc_layers=get(config, 'num_enc_layers', where),
                   max_freq=get(config, 'max_freq', where, float),
                   num_fourier_feats=get(config, 'num_fourier_feats', where, least=2))
