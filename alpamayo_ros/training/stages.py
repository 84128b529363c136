"""What the three stages of training minimise.

``vision``: the tower learns to say what is where in single images, which stands for the
pretraining that a released backbone has had. ``reasoning``: the VLM learns to write the chain of
causation; heads that are thrown away ask the token before it for the cause and how far away it is,
and the last token for the driver's controls, so that what the trajectory needs is in the cache.
``expert``: the VLM is frozen and its cache taken as it is, the expert learns the flow's velocity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.training.batches import Batch
from alpamayo_ros.training.examples import CELL, FACTS, LabelledImage
from alpamayo_ros.training.forward import EAGER, Cache, Passes
from alpamayo_ros.world.causes import CAUSES
from alpamayo_ros.world.render import LABELS

_SCENERY = ('sky', 'ground', 'asphalt', 'building', 'tree')
_SCENERY_WEIGHT = 0.2
_SMALL = ('light_red', 'light_green', 'vehicle_braking', 'pedestrian')
_SMALL_WEIGHT = 3.0
_CONTROLS_WEIGHT, _CAUSE_WEIGHT, _FACTS_WEIGHT = 0.5, 0.3, 0.5


class VisionLoss(nn.Module):
    """Cross-entropy of the classes in each square of an image, from the tower's image tokens."""

    def __init__(self, model: AlpamayoModel, passes: Passes = EAGER) -> None:
        super().__init__()
        self._passes = passes
        g = model.config.vision
        self._cells = g.patch_size * g.spatial_merge_size // CELL
        outputs = self._cells ** 2 * len(LABELS)
        self.heads = nn.ModuleList(nn.Linear(g.out_hidden_size, outputs)
                                   for _ in range(1 + len(g.deepstack_indexes)))
        weights = [_SCENERY_WEIGHT if label in _SCENERY else
                   _SMALL_WEIGHT if label in _SMALL else 1.0 for label in LABELS]
        self.register_buffer('weights', torch.tensor(weights), persistent=False)

    def forward(self, model: AlpamayoModel, images: Sequence[LabelledImage]) -> dict[str, Tensor]:
        pixels = torch.from_numpy(np.stack([item.image for item in images])).to(model.device)
        shares = torch.from_numpy(np.stack([item.shares for item in images])).to(model.device)
        return {'vision': self.of(*self._passes.see(model, pixels), shares)}

    def of(self, tokens: Tensor, deepstack: Sequence[Tensor], shares: Tensor) -> Tensor:
        """The loss of N images: tokens (N, tokens, hidden), deepstack features likewise and
        ``shares`` (N, rows, columns, classes)."""
        # To (N, tokens, cells of a token, classes).
        n, rows, columns, classes = shares.shape
        c = self._cells
        shares = shares.float().view(n, rows // c, c, columns // c, c, classes).transpose(
            2, 3).reshape(n, -1, c * c, classes)
        weighted = shares * self.weights
        losses = []
        for head, features in zip(self.heads, [tokens, *deepstack], strict=True):
            logits = head(features).view(shares.shape)
            losses.append(-(weighted * logits.log_softmax(-1)).sum() / weighted.sum())
        return torch.stack(losses).mean()


class ReasoningLoss(nn.Module):
    """Cross-entropy of the reasoning; the cause and its distance read off the token before it, the
    controls off the trajectory's start token; that of the classes in the images where a batch has
    them."""

    def __init__(self, model: AlpamayoModel, passes: Passes = EAGER) -> None:
        super().__init__()
        self._passes = passes
        hidden, waypoints = model.config.text.hidden_size, model.config.unicycle.n_waypoints
        self.eyes = VisionLoss(model, passes)
        self.cause = nn.Linear(hidden, len(CAUSES))
        self.facts = nn.Linear(hidden, len(FACTS))
        self.controls = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(),
                                      nn.Linear(hidden, 2 * waypoints))

    def forward(self, model: AlpamayoModel, batch: Batch) -> dict[str, Tensor]:
        tokens, deepstack = self._passes.see(model, batch.images)
        hidden, _ = self._passes.read(model, batch.ids, batch.positions, tokens.flatten(0, 1),
                                      [deep.flatten(0, 1) for deep in deepstack])
        asked = batch.targets >= 0
        logits = model.vlm.logits(hidden[asked])
        right = (logits.argmax(-1) == batch.targets[asked]).float().mean()
        rows = torch.arange(len(hidden), device=hidden.device)
        before = model.vlm.decoder.norm(hidden[rows, asked.int().argmax(1)])
        causes = self.cause(before)
        known = batch.facts.isfinite()
        distances = (self.facts(before) - batch.facts)[known]
        last = model.vlm.decoder.norm(hidden[rows, batch.lengths - 1])
        controls = self.controls(last).view_as(batch.action)
        losses = {
            'reasoning': F.cross_entropy(logits, batch.targets[asked]),
            'cause': F.cross_entropy(causes, batch.causes) * _CAUSE_WEIGHT,
            'facts': F.smooth_l1_loss(distances, torch.zeros_like(distances), reduction='sum')
                     / len(hidden) * _FACTS_WEIGHT,
            'controls': F.smooth_l1_loss(controls, batch.action) * _CONTROLS_WEIGHT,
            'right_tokens': right.detach(),
            'right_causes': (causes.argmax(-1) == batch.causes).float().mean()}
        if batch.shares is not None:
            losses['vision'] = self.eyes.of(tokens, deepstack, batch.shares)
        return losses


@dataclass(frozen=True)
class ReadSample:
    """What the expert learns from a sample: the frozen VLM's keys and values by layer, each
    (kv_heads, L, head_dim) float16 without padding, and of its ``Batch`` what is asked for."""

    cache: Cache
    lengths: Tensor
    offsets: Tensor
    action: Tensor


def read_sample(model: AlpamayoModel, batch: Batch, passes: Passes = EAGER) -> ReadSample:
    """A batch of one sample as the frozen VLM reads it."""
    with torch.no_grad():
        tokens, deepstack = passes.see(model, batch.images)
        _, cache = passes.read(model, batch.ids, batch.positions, tokens.flatten(0, 1),
                               [deep.flatten(0, 1) for deep in deepstack])
    length = int(batch.lengths[0])
    return ReadSample([(k[0, :, :length].half(), v[0, :, :length].half()) for k, v in cache],
                      batch.lengths, batch.offsets, batch.action)


def expert_loss(model: AlpamayoModel, cache: Cache, lengths: Tensor, offsets: Tensor,
                action: Tensor, draws: int, generator: torch.Generator,
                passes: Passes = EAGER) -> dict[str, Tensor]:
    """Mean squared error of the velocity at ``draws`` points of the flow of each sample.

    ``generator``: on the CPU, so that a seed means the same on every device; action (B, T, 2)
    normalised; t = 0.999 (1 - Beta(1.5, 1)), noisy = t action + (1 - t) noise.
    """
    batch = action.shape[0]
    # Beta(1.5, 1) by inverting its distribution function u = b^1.5.
    uniform = torch.rand(batch, draws, generator=generator).to(action.device)
    time = 0.999 * (1 - uniform ** (1 / 1.5))
    noise = torch.randn(batch, draws, *action.shape[1:], generator=generator).to(action.device)
    clean = action[:, None]
    noisy = time[..., None, None] * clean + (1 - time[..., None, None]) * noise
    predicted = passes.velocity(model, noisy, time, cache, lengths, offsets)
    return {'expert': F.mse_loss(predicted, clean - noise)}
