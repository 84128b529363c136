"""One denoising step of the action expert: the module that backends run or are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.attention import grouped_attention


class ExpertStep(nn.Module):
    """The velocity field of the flow at one time, for G reasonings x S samples of each.

    Holds no weights of its own: it refers to those of the model. It reads the VLM's cache where it
    lies; samples share their group's entries and all groups share the prompt's.
    """

    def __init__(self, model: AlpamayoModel,
                 attend: Callable[..., Tensor] = grouped_attention) -> None:
        """``attend``: how to attend; the default is made of operations that any graph can hold."""
        super().__init__()
        self.attend = attend
        self.expert = model.expert
        self.action_in_proj = model.action_in_proj
        self.action_out_proj = model.action_out_proj
        self.causal = model.config.expert_causal

    def rotary(self, start: Tensor, waypoints: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin (G, 1, waypoints, head_dim) of tokens beginning at position start (G,)."""
        positions = start[:, None] + torch.arange(waypoints, device=start.device)
        return self.expert.rotary.along(positions[:, None], dtype)

    def forward(self, noisy: Tensor, time: Tensor, cos: Tensor, sin: Tensor,
                prompt: Sequence[tuple[Tensor, Tensor]], tail: Sequence[tuple[Tensor, Tensor]],
                tail_bias: Tensor | None) -> Tensor:
        """noisy (G, S, T, 2) float32, time a scalar; prompt and tail: keys and values per layer,
        (kv_heads, L, head_dim) and (G, kv_heads, M, head_dim); tail_bias (G, M), -inf behind each
        group's end. Returns the velocity (G, S, T, 2), float32."""
        x = self.action_in_proj(noisy, time).to(self.action_out_proj.weight.dtype)
        own_bias = None
        if self.causal:
            own_bias = torch.full((noisy.shape[-2],) * 2, -torch.inf, device=x.device).triu(1)
        for layer, (prompt_k, prompt_v), (tail_k, tail_v) in zip(
                self.expert.layers, prompt, tail, strict=True):
            q, k, v = layer.project(x, cos, sin)
            x = layer.finish(x, self.attend(
                q, k, v, prompt_k=prompt_k, prompt_v=prompt_v, tail_k=tail_k, tail_v=tail_v,
                tail_bias=tail_bias, own_bias=own_bias))
        return self.action_out_proj(self.expert.norm(x)).float()
