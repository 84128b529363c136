"""Finding and reading recorded results: checkpoints with cases, and a file of units.

The form of such a directory is described in test/data/golden/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.model.config import read_json
from alpamayo_ros.types import ImagePatches

_TENSORS = ('frames', 'pixel_values', 'image_grid_thw', 'input_ids', 'fused_ids',
            'ego_history_xyz', 'ego_history_rot', 'sequences', 'noise', 'action', 'pred_xyz',
            'pred_rot')
_KEYS = ('text', 'num_traj_samples', 'top_k', 'max_generation_length', 'traj_future_start_at',
         'cot', 'frames_per_camera')


@dataclass(frozen=True)
class Case:
    """One recorded run: what went in and what the released implementation gave at each stage."""

    name: str
    info: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def camera_ids(self) -> list[int]:
        """Camera ids, or 0 ... where the case only counts them."""
        return list(self.info.get('camera_indices') or range(self.info['cameras']))

    @property
    def images(self) -> list[ImagePatches]:
        """The recorded patches, one item an image."""
        grids = [tuple(grid) for grid in self.tensors['image_grid_thw'].tolist()]
        size = tuple(self.tensors['frames'].shape[-2:])
        parts = self.tensors['pixel_values'].split([rows * columns for _, rows, columns in grids])
        return [ImagePatches(part, grid, size) for part, grid in zip(parts, grids, strict=True)]

    @property
    def greedy(self) -> bool:
        """Whether the tokens were chosen greedily, so that they must be reproduced."""
        return self.info['top_k'] == 1

    @property
    def guidance_weight(self) -> float:
        """Weight of the navigation guidance, 0 where it was off."""
        cfg = self.info.get('cfg') or {}
        return float(cfg.get('inference_guidance_weight', 0.0)) if cfg.get(
            'use_classifier_free_guidance') else 0.0


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; ``CheckpointError`` names one that cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is no readable safetensors file: {error}') from error


def find_checkpoints(directory: Path) -> list[Path]:
    """Sub-directories (or the directory itself) that hold a checkpoint and its cases."""
    return sorted(path.parent for path in directory.rglob('cases.json')
                  if (path.parent / 'config.json').exists())


def find_units(directory: Path) -> list[Path]:
    """Files with results of the parts that have no weights."""
    return sorted(directory.rglob('units.safetensors'))


def read_cases(checkpoint: Path) -> list[Case]:
    """All cases of a checkpoint; ``CheckpointError`` names what a case lacks."""
    cases = []
    for name, info in read_json(checkpoint / 'cases.json').items():
        path = checkpoint / f'{name}.safetensors'
        tensors = load_tensors(path)
        for kind, wanted, found in (('tensor', _TENSORS, tensors), ('key', _KEYS, info)):
            missing = [item for item in wanted if item not in found]
            if missing:
                raise CheckpointError(f"case '{name}' of {checkpoint} lacks the {kind} "
                                      f"'{missing[0]}'")
        if 'camera_indices' not in info and 'cameras' not in info:
            raise CheckpointError(f"case '{name}' of {checkpoint} lacks the key 'camera_indices' "
                                  "or 'cameras'")
        cases.append(Case(name, info, tensors))
    return cases
