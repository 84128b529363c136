"""Examples as tensors: the prompt as the planner makes it, and the reasoning it should write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.model.config import AlpamayoConfig
from alpamayo_ros.model.prompt import fuse_history, prompt_text, tokenize_prompt
from alpamayo_ros.model.text import prompt_positions
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer, special
from alpamayo_ros.training.examples import Example
from alpamayo_ros.world.causes import CAUSES


@dataclass(frozen=True)
class Batch:
    """B samples, sequences padded on the right.

    ``images``: uint8 (images, H, W, 3); ``ids``: (B, L); ``positions``: (3, B, L); ``targets``:
    (B, L), what each token should be followed by, -100 where nothing is asked; ``lengths``: (B,)
    tokens up to and with ``<|traj_future_start|>``; ``offsets``: (B,), position of what follows;
    ``action``: (B, 64, 2) normalised; ``causes``: (B,) indices into ``CAUSES``; ``facts``: (B,
    facts) over their usual sizes, NaN where there is none; ``shares``: (images, rows, columns,
    classes) or None.
    """

    images: Tensor
    ids: Tensor
    positions: Tensor
    targets: Tensor
    lengths: Tensor
    offsets: Tensor
    action: Tensor
    causes: Tensor
    facts: Tensor
    shares: Tensor | None

    def to(self, device: torch.device) -> Batch:
        return Batch(*(None if value is None else value.to(device)
                       for value in vars(self).values()))


class Batcher:
    """Makes batches for a checkpoint's configuration and tokenizer."""

    def __init__(self, config: AlpamayoConfig, tokenizer: AlpamayoTokenizer, *, multiple: int = 1
                 ) -> None:
        """``multiple``: sequences are padded to a multiple of this."""
        self._multiple = multiple
        self._config, self._tokenizer = config, tokenizer
        self._prompts: dict[tuple, tuple[Tensor, Tensor, int]] = {}
        unicycle = config.unicycle
        self._mean = torch.tensor([unicycle.accel_mean, unicycle.curvature_mean])
        self._std = torch.tensor([unicycle.accel_std, unicycle.curvature_std])

    def __call__(self, examples: Sequence[Example], *, jitter: np.random.Generator | None = None
                 ) -> Batch:
        """``jitter``: draws a brightness, contrast and tint for each example where given."""
        rows = [self._row(example) for example in examples]
        longest = up_to(max(len(ids) for ids, *_ in rows), self._multiple)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        targets = torch.full_like(ids, -100)
        positions = torch.zeros(3, len(rows), longest, dtype=torch.long)
        for index, (row, places, prompt, _) in enumerate(rows):
            ids[index, :len(row)] = row
            positions[:, index, :len(row)] = places
            targets[index, prompt - 1:len(row) - 1] = row[prompt:]
        images = [_jittered(example.images, jitter) if jitter is not None else example.images
                  for example in examples]
        controls = torch.from_numpy(np.stack([example.controls for example in examples]))
        lengths = torch.tensor([len(row) for row, *_ in rows])
        shares = [example.shares for example in examples if example.shares is not None]
        return Batch(torch.from_numpy(np.concatenate(images)), ids, positions, targets, lengths,
                     lengths + torch.tensor([delta for *_, delta in rows]),
                     (controls - self._mean) / self._std,
                     torch.tensor([CAUSES.index(example.cause) for example in examples]),
                     torch.from_numpy(np.stack([example.facts for example in examples])),
                     torch.from_numpy(np.concatenate(shares)) if shares else None)

    def _row(self, example: Example) -> tuple[Tensor, Tensor, int, int]:
        """Ids, positions, prompt length and rope_delta of prompt and reasoning."""
        key = example.camera_ids, example.images.shape[:3], example.navigation
        if key not in self._prompts:
            merge = self._config.vision.patch_size * self._config.vision.spatial_merge_size
            height, width = (side // merge for side in example.images.shape[1:3])
            count = len(example.images)
            text = prompt_text(
                self._config, self._tokenizer, example.camera_ids,
                count // len(example.camera_ids), navigation=example.navigation)
            prompt = tokenize_prompt(text, self._tokenizer, [height * width] * count).ids
            grids = [(1, 2 * height, 2 * width)] * count
            self._prompts[key] = (prompt, *prompt_positions(
                prompt, grids, self._config.image_token_id, 2))
        prompt, places, delta = self._prompts[key]
        answer = torch.tensor(self._tokenizer.encode(
            example.reasoning + special('cot_end') + special('traj_future_start')))
        after = torch.arange(len(prompt), len(prompt) + len(answer)) + delta
        fused = fuse_history(prompt, torch.from_numpy(example.history_xyz), self._config,
                             self._tokenizer)
        return (torch.cat([fused, answer]), torch.cat([places, after.expand(3, -1)], 1),
                len(prompt), delta)


def up_to(length: int, multiple: int) -> int:
    """The next multiple."""
    return -(-length // multiple) * multiple


def _jittered(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure: the same change for every image of an example."""
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    table = np.arange(256)[:, None] * gain + rng.uniform(-12, 12)
    table = np.clip(table, 0, 255).astype(np.uint8)
    return np.stack([table[:, channel][images[..., channel]] for channel in range(3)], -1)
