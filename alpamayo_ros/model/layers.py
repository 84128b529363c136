"""The transformer layer that the VLM's text decoder and the action expert share.

Both attend to the same cache, so a layer is split where the cache comes in: ``project`` gives
queries, keys and values, attention happens outside, ``finish`` does the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alpamayo_ros.model.config import TextGeometry


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class Rotary(nn.Module):
    """Interleaved multi-axis rotary embedding (M-RoPE): time, height and width share a head."""

    inv_freq: Tensor

    def __init__(self, geometry: TextGeometry) -> None:
        super().__init__()
        self.theta, self.head_dim = geometry.rope_theta, geometry.head_dim
        self.section = geometry.mrope_section
        self.register_buffer('inv_freq', torch.empty(self.head_dim // 2), persistent=False)

    def materialise(self, device: torch.device) -> None:
        """Compute the frequencies; the checkpoint does not hold them."""
        exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        self.inv_freq = (1.0 / self.theta ** exponent).to(device)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Positions (3, ...) on the three axes to cos and sin, each (..., head_dim)."""
        angle = positions[..., None].float() * self.inv_freq
        mixed = angle[0].clone()
        for axis in (1, 2):
            picked = slice(axis, 3 * self.section[axis], 3)
            mixed[..., picked] = angle[axis][..., picked]
        return self._turns(mixed, dtype)

    def along(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """What ``forward`` gives for positions (...) that are equal on the three axes."""
        return self._turns(positions[..., None].float() * self.inv_freq, dtype)

    def _turns(self, angle: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        both = torch.cat([angle, angle], dim=-1)
        return both.cos().to(dtype), both.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the two halves of the last dimension against each other by the given angles."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """The projections around grouped-query attention with normalised queries and keys."""

    def __init__(self, geometry: TextGeometry) -> None:
        super().__init__()
        wide = geometry.num_heads * geometry.head_dim
        narrow = geometry.num_kv_heads * geometry.head_dim
        bias, hidden = geometry.attention_bias, geometry.hidden_size
        self.head_dim = geometry.head_dim
        self.q_proj = nn.Linear(hidden, wide, bias=bias)
        self.k_proj = nn.Linear(hidden, narrow, bias=bias)
        self.v_proj = nn.Linear(hidden, narrow, bias=bias)
        self.o_proj = nn.Linear(wide, hidden, bias=bias)
        self.q_norm = RMSNorm(geometry.head_dim, geometry.rms_norm_eps)
        self.k_norm = RMSNorm(geometry.head_dim, geometry.rms_norm_eps)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (..., T, hidden); cos, sin (..., T, head_dim), to heads before tokens:
        q (..., heads, T, head_dim), k and v (..., kv_heads, T, head_dim)."""
        cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
        q = self.q_norm(self.q_proj(x).unflatten(-1, (-1, self.head_dim)))
        k = self.k_norm(self.k_proj(x).unflatten(-1, (-1, self.head_dim)))
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim))
        return (rotate(q, cos, sin).transpose(-2, -3), rotate(k, cos, sin).transpose(-2, -3),
                v.transpose(-2, -3))


class GatedMLP(nn.Module):
    """SwiGLU feed-forward network."""

    def __init__(self, geometry: TextGeometry) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(geometry.hidden_size, geometry.intermediate_size, bias=False)
        self.up_proj = nn.Linear(geometry.hidden_size, geometry.intermediate_size, bias=False)
        self.down_proj = nn.Linear(geometry.intermediate_size, geometry.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """One pre-norm layer; weight names are those of the checkpoint."""

    def __init__(self, geometry: TextGeometry) -> None:
        super().__init__()
        self.self_attn = Attention(geometry)
        self.mlp = GatedMLP(geometry)
        self.input_layernorm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x, see ``Attention.project``."""
        return self.self_attn.project(self.input_layernorm(x), cos, sin)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """x (..., T, hidden) and the attention's result (..., heads, T, head_dim) to the output."""
        x = x + self.self_attn.o_proj(attended.transpose(-2, -3).flatten(-2))
        return x + self.mlp(self.post_attention_layernorm(x))
