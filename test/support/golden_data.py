"""The golden checkpoints and cases: where they are, copies to change, observations of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from alpamayo_ros.model.preprocessing import FramePreprocessor
from alpamayo_ros.types import CameraFrame, Observation

GOLDEN = Path(__file__).resolve().parents[1] / 'data' / 'golden'
R1, V1_5 = GOLDEN / 'r1', GOLDEN / 'alpamayo1_5'
PIXELS = {'min_pixels': 4096, 'max_pixels': 9216}
"""The image budget the golden cases were recorded with."""


def copy_checkpoint(source: Path, directory: Path, cases: Sequence[str] = ()) -> Path:
    """A copy to be changed, with the backbone beside or in it and only the named cases."""
    target = directory / source.name
    target.mkdir(parents=True)
    for name in ('config.json', 'model.safetensors', *(f'{case}.safetensors' for case in cases)):
        shutil.copy(source / name, target / name)
    if (source / 'backbone').exists():
        shutil.copytree(source / 'backbone', target / 'backbone')
    elif not (directory / 'vlm').exists():
        shutil.copytree(GOLDEN / 'vlm', directory / 'vlm')
    if cases:
        found = json.loads((source / 'cases.json').read_text())
        (target / 'cases.json').write_text(json.dumps({name: found[name] for name in cases}))
    return target


def edit_json(path: Path, change: Callable[[dict], object]) -> None:
    """Change a JSON object in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_tensors(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change a safetensors file in place."""
    tensors = load_file(path)
    # A fresh file: the tensors may still be mapped from the old one.
    tensors = {name: value.clone() for name, value in tensors.items()}
    change(tensors)
    path.unlink()
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)


def case_info(checkpoint: Path, name: str) -> dict:
    """What cases.json says."""
    return json.loads((checkpoint / 'cases.json').read_text())[name]


def observe(checkpoint: Path, name: str, preprocessor: FramePreprocessor) -> Observation:
    """A recorded case as the observation a vehicle would have made."""
    info, tensors = case_info(checkpoint, name), load_file(checkpoint / f'{name}.safetensors')
    ids = info.get('camera_indices') or range(info['cameras'])
    per_camera = info['frames_per_camera']
    t0 = 10 ** 12
    frames, index = [], 0
    for camera_id in ids:
        camera = []
        for frame in range(per_camera):
            rgb = np.ascontiguousarray(tensors['frames'][index].permute(1, 2, 0).numpy())
            camera.append(CameraFrame(camera_id, t0 - (per_camera - 1 - frame) * 10 ** 8,
                                      preprocessor(rgb)))
            index += 1
        frames.append(tuple(camera))
    return Observation(
        t0_ns=t0, frames=tuple(frames),
        history_xyz=tensors['ego_history_xyz'][0, 0].numpy().astype(np.float64),
        history_rot=tensors['ego_history_rot'][0, 0].numpy().astype(np.float64),
        navigation=info.get('nav_text'))


def recorded(checkpoint: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of a case."""
    return load_file(checkpoint / f'{name}.safetensors')
