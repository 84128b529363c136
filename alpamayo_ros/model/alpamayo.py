"""The whole model as one module whose weight names are those of the checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alpamayo_ros.model.action_projection import ActionProjection, FourierFeatures
from alpamayo_ros.model.config import AlpamayoConfig, TextGeometry
from alpamayo_ros.model.layers import DecoderLayer, RMSNorm, Rotary
from alpamayo_ros.model.text import TextDecoder
from alpamayo_ros.model.vision import VisionTower

FLOAT32_MODULES = ('action_in_proj.', 'action_space.')
"""Weights kept in float32 whatever dtype the model runs in."""


class _Backbone(nn.Module):
    def __init__(self, config: AlpamayoConfig) -> None:
        super().__init__()
        self.visual = VisionTower(config.vision)
        self.language_model = TextDecoder(config.text)


class VisionLanguageModel(nn.Module):
    """The stage that reads images and writes the reasoning."""

    def __init__(self, config: AlpamayoConfig) -> None:
        super().__init__()
        self.model = _Backbone(config)
        self.lm_head = nn.Linear(config.text.hidden_size, config.text.vocab_size, bias=False)

    @property
    def visual(self) -> VisionTower:
        return self.model.visual

    @property
    def decoder(self) -> TextDecoder:
        return self.model.language_model

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., hidden) to float32 logits (..., vocab)."""
        return self.lm_head(self.decoder.norm(hidden)).float()


class ExpertDecoder(nn.Module):
    """The action expert's layers: a text decoder without an embedding of its own."""

    def __init__(self, geometry: TextGeometry) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(geometry) for _ in range(geometry.num_layers))
        self.norm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)
        self.rotary = Rotary(geometry)


class ActionStatistics(nn.Module):
    """Means and standard deviations of the actions, scalars, m/s^2 and 1/m."""

    def __init__(self) -> None:
        super().__init__()
        for name in ('accel_mean', 'accel_std', 'curvature_mean', 'curvature_std'):
            self.register_buffer(name, torch.empty(()))


class AlpamayoModel(nn.Module):
    """VLM, expert and the projections between actions and the expert's width."""

    def __init__(self, config: AlpamayoConfig) -> None:
        super().__init__()
        self.config = config
        self.vlm = VisionLanguageModel(config)
        self.expert = ExpertDecoder(config.expert)
        self.action_space = ActionStatistics()
        self.action_in_proj = ActionProjection(
            config.action_projection, config.expert.hidden_size,
            stored_freqs=config.model_type == 'alpamayo_r1')
        self.action_out_proj = nn.Linear(config.expert.hidden_size, 2)

    @property
    def device(self) -> torch.device:
        return self.action_out_proj.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.action_out_proj.weight.dtype

    def materialise_buffers(self, device: torch.device) -> None:
        """Compute the buffers that no checkpoint holds, on that device."""
        for module in self.modules():
            if isinstance(module, Rotary) or (
                    isinstance(module, FourierFeatures)
                    and 'freqs' in module._non_persistent_buffers_set):
                module.materialise(device)
