"""A scene as a planner is given it: rendered cameras, history, instruction; or with other eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.cameras import SIX_CAMERA_RIG, camera_by_name
from alpamayo_ros.evaluation.seeds import SceneId, scene_ids
from alpamayo_ros.model.preprocessing import FramePreprocessor
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.training.nano import RENDER_SIZE
from alpamayo_ros.types import HISTORY_DT_NS, CameraFrame, ImagePatches, Observation
from alpamayo_ros.world.causes import KINDS
from alpamayo_ros.world.render import Renderer
from alpamayo_ros.world.samples import draw_sample
from alpamayo_ros.world.types import Sample

FRAMES = 4
"""Frames of a camera, 0.1 s apart, the last at t0."""
CAMERA_IDS = tuple(sorted(camera_by_name(name).camera_id for name in SIX_CAMERA_RIG))
_CAMERAS = {camera_by_name(name).camera_id: NOMINAL_RIG[name] for name in SIX_CAMERA_RIG}
GREY = 127
_T0_NS = 1_000_000_000_000

Patches = tuple[tuple[ImagePatches, ...], ...]
"""What the cameras show: by ascending camera id, oldest frame first."""


@dataclass(frozen=True)
class Scene:
    """A drawn scene; ``front`` is what the front-wide camera sees at t0, RGB uint8."""

    scene_id: SceneId
    sample: Sample
    patches: Patches
    front: np.ndarray


def draw(scene_id: SceneId, preprocessor: FramePreprocessor) -> Scene:
    """Draw and render a scene."""
    sample = draw_sample(scene_id.kind, scene_id.seed)
    renderer = Renderer(sample.drive)
    steps = range(sample.step - FRAMES + 1, sample.step + 1)
    images = {camera_id: [renderer.image(step, _CAMERAS[camera_id], *RENDER_SIZE)
                          for step in steps] for camera_id in CAMERA_IDS}
    patches = tuple(tuple(map(preprocessor, images[camera_id])) for camera_id in CAMERA_IDS)
    return Scene(scene_id, sample, patches, images[camera_by_name('front_wide').camera_id][-1])


def blank(preprocessor: FramePreprocessor) -> Patches:
    """Cameras that all show the same mid grey, all the time."""
    width, height = RENDER_SIZE
    grey = preprocessor(np.full((height, width, 3), GREY, np.uint8))
    return ((grey,) * FRAMES,) * len(CAMERA_IDS)


def stranger(scene_id: SceneId, number: int, seed: int, *, validation: bool) -> SceneId:
    """The scene of another kind whose images scene ``number`` of its kind is shown instead."""
    place = (KINDS.index(scene_id.kind) + 1 + number % (len(KINDS) - 1)) % len(KINDS)
    return scene_ids(number + 1, seed, validation=validation, kinds=[KINDS[place]])[-1]


def observation(sample: Sample, patches: Patches, navigation: str | None) -> Observation:
    """What a vehicle would have observed at the sample's instant."""
    frames = tuple(
        tuple(CameraFrame(camera_id, _T0_NS - (FRAMES - 1 - index) * HISTORY_DT_NS, image)
              for index, image in enumerate(images))
        for camera_id, images in zip(CAMERA_IDS, patches, strict=True))
    return Observation(t0_ns=_T0_NS, frames=frames, history_xyz=sample.history_xyz,
                       history_rot=sample.history_rot, navigation=navigation)
