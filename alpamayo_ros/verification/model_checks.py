"""Every stage of a recorded case against this implementation, each from the recorded input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.model.decoding import Generated, measure, reasonings
from alpamayo_ros.model.expert.protocol import Guidance
from alpamayo_ros.model.preprocessing import FramePreprocessor
from alpamayo_ros.model.runtime import Prefilled, Runtime
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.types import ImagePatches
from alpamayo_ros.verification.cases import Case, read_cases
from alpamayo_ros.verification.loop import MAX_DISTANCE_RATIO, sensitivity
from alpamayo_ros.verification.result import (
    ACTION_TOLERANCE,
    PATCH_MEAN_TOLERANCE,
    PATCH_TOLERANCE,
    ROTATION_TOLERANCE,
    XYZ_TOLERANCE_M,
    Check,
)

RECORDED_MIN_PIXELS, RECORDED_MAX_PIXELS = 4096, 9216
"""The image budget of recorded cases, unless a case says ``min_pixels`` and ``max_pixels``."""


def largest(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float('inf')
    return float((found.double() - expected.double()).abs().max()) if found.numel() else 0.0


def _differing(found: Tensor, expected: Tensor) -> float:
    """How many entries differ; all of them where shapes differ."""
    if found.shape != expected.shape:
        return float(max(found.numel(), expected.numel()))
    return float((found != expected).sum())


class CaseVerifier:
    """Checks one case after another on one loaded checkpoint."""

    def __init__(self, checkpoint: Path, *, device: str = 'cpu', backend: str = 'torch') -> None:
        self.label = checkpoint.name
        self.runtime = Runtime(checkpoint, device=device, backend=backend)

    def verify(self, case: Case) -> list[Check]:
        """All stages of a case."""
        name = f'{self.label}/{case.name}'
        images, checks = self._images(case, name)
        checks += self._prompt(case, name, images)
        prefilled, generated, reasoning = self._reasoning(case, name, images)
        return checks + reasoning + self._paths(case, name, images, prefilled, generated)

    def _images(self, case: Case, name: str) -> tuple[list[ImagePatches], list[Check]]:
        """Patches of the recorded frames; later stages use the recorded patches."""
        grids = [tuple(grid) for grid in case.tensors['image_grid_thw'].tolist()]
        vision = self.runtime.config.vision
        preprocess = FramePreprocessor(
            vision, min_pixels=case.info.get('min_pixels', RECORDED_MIN_PIXELS),
            max_pixels=case.info.get('max_pixels', RECORDED_MAX_PIXELS))
        frames = [np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
                  for frame in case.tensors['frames']]
        found = [preprocess(frame) for frame in frames]
        note = ''
        if [image.grid_thw for image in found] != grids:
            note = f'grid {found[0].grid_thw}; recorded {grids[0]}'
        values = torch.cat([image.pixel_values for image in found])
        expected = case.tensors['pixel_values']
        # One byte of a pixel is 2/255 after normalising to -1 ... 1.
        difference = (values - expected).abs() / 2 if values.shape == expected.shape else None
        checks = [
            Check(name, 'patches, largest', float('inf') if difference is None
                  else float(difference.max()), PATCH_TOLERANCE, note),
            Check(name, 'patches, mean', float('inf') if difference is None
                  else float(difference.mean()), PATCH_MEAN_TOLERANCE)]
        return case.images, checks

    def _prompt(self, case: Case, name: str, images: list[ImagePatches]) -> list[Check]:
        prompt = self.runtime.prompt(case.camera_ids, case.info['frames_per_camera'],
                                     [image.grid_thw for image in images],
                                     case.info.get('nav_text'))
        fused = self.runtime.fuse(prompt, case.tensors['ego_history_xyz'][0, 0])
        return [
            Check(name, 'prompt text', float(prompt.text != case.info['text']), 0),
            Check(name, 'prompt ids', _differing(prompt.ids[None], case.tensors['input_ids']), 0),
            Check(name, 'history ids', _differing(fused[None], case.tensors['fused_ids']), 0)]

    def _prefill(self, case: Case, images: list[ImagePatches], ids: Tensor, slot: int
                 ) -> Prefilled:
        return self.runtime.prefill(
            ids, [image.grid_thw for image in images], self.runtime.encode_images(images),
            groups=case.info['num_traj_samples'], tail=case.info['max_generation_length'],
            slot=slot)

    def _reasoning(self, case: Case, name: str, images: list[ImagePatches]
                   ) -> tuple[Prefilled, Generated, list[Check]]:
        """Prefill and, for a greedy case, decoding; later stages use the recorded tokens."""
        ids = case.tensors['fused_ids'][0]
        recorded = measure(case.tensors['sequences'][:, ids.shape[0]:],
                           self.runtime.tokenizer.future_start)
        prefilled = self._prefill(case, images, ids, 0)
        checks = []
        if case.greedy:
            found = self.runtime.decode(prefilled, Sampling(top_k=1),
                                        case.info['max_generation_length'], torch.Generator())
            # What follows the end token is junk that the reference may have replaced.
            width = int(recorded.length.max())
            checks.append(Check(name, 'tokens', _differing(
                found.tokens[:, :width].cpu(), recorded.tokens[:, :width]), 0))
            prefilled = self._prefill(case, images, ids, 0)
        self.runtime.force(prefilled, recorded.tokens)
        ends = torch.where(recorded.truncated, -1, recorded.length)
        checks.append(Check(name, 'end of reasoning', _differing(
            ends, torch.tensor(case.info['traj_future_start_at'])), 0))
        texts = [item.cot for item in reasonings(recorded, self.runtime.tokenizer)]
        checks.append(Check(name, 'reasoning text', float(
            sum(a != b for a, b in zip(texts, case.info['cot'], strict=True))), 0))
        return prefilled, recorded, checks

    def _paths(self, case: Case, name: str, images: list[ImagePatches], prefilled: Prefilled,
               generated: Generated) -> list[Check]:
        runtime, tensors = self.runtime, case.tensors
        on_device = dataclasses.replace(generated, length=generated.length.to(runtime.device))
        context = runtime.context(prefilled, on_device)
        guidance = None
        if case.guidance_weight:
            plain = runtime.prompt(case.camera_ids, case.info['frames_per_camera'],
                                   [image.grid_thw for image in images], None)
            ids = runtime.fuse(plain, tensors['ego_history_xyz'][0, 0])
            without = self._prefill(case, images, ids, 1)
            runtime.force(without, generated.tokens)
            guidance = Guidance(runtime.context(without, on_device), case.guidance_weight)

        def run(noise: Tensor) -> Tensor:
            return runtime.integrate(noise, context, guidance=guidance)

        action = run(tensors['noise'])
        history = (tensors['ego_history_xyz'][0, 0], tensors['ego_history_rot'][0, 0])
        xyz, rot, _ = runtime.trajectories(action, *history)
        wanted_xyz, wanted_rot = tensors['pred_xyz'][0, 0], tensors['pred_rot'][0, 0]
        own_xyz, own_rot, _ = runtime.trajectories(tensors['action'], *history)
        errors = (largest(action, tensors['action']), largest(xyz, wanted_xyz),
                  largest(rot, wanted_rot))
        tolerances = (ACTION_TOLERANCE, XYZ_TOLERANCE_M, ROTATION_TOLERANCE)
        decided: bool | None = None
        note = ''
        if any(error > tolerance for error, tolerance in zip(errors, tolerances, strict=True)):
            felt = sensitivity(run, tensors['noise'], tensors['action'])
            note = (f'rounding alone moves this result by {felt.spread:.1e}; distance ratio '
                    f'{felt.ratio:.2f}, allowed {MAX_DISTANCE_RATIO}')
            if felt.spread > ACTION_TOLERANCE:
                decided = felt.consistent
        stages = ('action', 'path xyz, m', 'path rotation')
        checks = [
            Check(name, stage, error, tolerance, note if error > tolerance else '',
                  decided if error > tolerance else None)
            for stage, error, tolerance in zip(stages, errors, tolerances, strict=True)]
        return checks + [
            Check(name, 'xyz of recorded action, m', largest(own_xyz, wanted_xyz),
                  XYZ_TOLERANCE_M),
            Check(name, 'rotation of recorded action', largest(own_rot, wanted_rot),
                  ROTATION_TOLERANCE)]


def verify_checkpoint(checkpoint: Path, *, device: str = 'cpu', backend: str = 'torch'
                      ) -> list[Check]:
    """Every case of a checkpoint directory."""
    verifier = CaseVerifier(checkpoint, device=device, backend=backend)
    return [check for case in read_cases(checkpoint) for check in verifier.verify(case)]
