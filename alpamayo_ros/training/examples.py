"""What training learns from: rendered instants of drives, and single images with their classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.cameras import camera_by_id
from alpamayo_ros.model.preprocessing import resize
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.training.nano import IMAGE_SIZE, RENDER_SIZE
from alpamayo_ros.world.causes import KINDS
from alpamayo_ros.world.render import LABELS, Renderer
from alpamayo_ros.world.samples import ROUTE_AHEAD_M, instants, sample_at
from alpamayo_ros.world.scenarios import make_drive
from alpamayo_ros.world.types import FUTURE_STEPS, Drive, Sample

CELL = 8
"""Side of the squares in which the vision stage is told what there is, pixels of the model."""
FACTS = {'nose_to_line_m': 30.0, 'gap_m': 30.0,
         **{f'route_{metres}m': 0.5 for metres in ROUTE_AHEAD_M}}
"""Of a sample's facts those that the images show, with a usual size of each: m to the line, m to
the vehicle ahead, how much the route turns, rad."""


@dataclass(frozen=True)
class Example:
    """One instant. ``images``: uint8 (cameras * frames, H, W, 3), camera-major, oldest first;
    ``history_xyz``: (16, 3) m, ego frame; ``controls``: (64, 2), the accelerations m/s^2 and
    curvatures 1/m that the driver chose; ``facts``: those of ``FACTS`` over their sizes, NaN where
    the cause has none; ``shares``: those of each image, as in ``LabelledImage``, where they were
    asked for."""

    camera_ids: tuple[int, ...]
    images: np.ndarray
    history_xyz: np.ndarray
    controls: np.ndarray
    reasoning: str
    navigation: str | None
    kind: str
    cause: str
    facts: np.ndarray
    shares: np.ndarray | None = None


@dataclass(frozen=True)
class LabelledImage:
    """``image``: uint8 (H, W, 3); ``shares``: float16 (rows, columns, classes), how much of each
    square of ``CELL`` pixels each class of ``LABELS`` covers."""

    image: np.ndarray
    shares: np.ndarray


def seen(image: np.ndarray) -> np.ndarray:
    """A rendered image at the size at which the model sees it, as its preprocessor resizes."""
    return resize(image, IMAGE_SIZE[1], IMAGE_SIZE[0])


def example(sample: Sample, renderer: Renderer, camera_ids: Sequence[int], frames: int, *,
            labels: bool = False) -> Example:
    """Render what the cameras see: as many ``frames`` of each, 0.1 s apart, the last at t0."""
    # Steps outside, cameras inside: the renderer keeps what the cameras of a step share.
    steps = range(sample.step - frames + 1, sample.step + 1)
    rendered = [[_look(renderer, step, camera_id) for camera_id in camera_ids] for step in steps]
    looks = [row[index] for index in range(len(camera_ids)) for row in rendered]
    return Example(
        camera_ids=tuple(camera_ids), images=np.stack([seen(image) for image, _ in looks]),
        history_xyz=sample.history_xyz.astype(np.float32), controls=_controls(sample),
        reasoning=sample.reasoning, navigation=sample.navigation, kind=sample.drive.kind,
        cause=sample.cause,
        facts=np.array([sample.facts.get(name, np.nan) / size for name, size in FACTS.items()],
                       dtype=np.float32),
        shares=np.stack([class_shares(classes) for _, classes in looks]) if labels else None)


def _controls(sample: Sample) -> np.ndarray:
    """Of the sensible futures any, each as likely: which one the drive took is its own affair."""
    taken = sample.drive.ego[sample.step:sample.step + FUTURE_STEPS, 4:6]
    options = [taken, *sample.other_controls]
    rng = np.random.default_rng([sample.drive.seed, sample.step, 17])
    return options[int(rng.integers(len(options)))].astype(np.float32)


def _look(renderer: Renderer, step: int, camera_id: int) -> tuple[np.ndarray, np.ndarray]:
    camera = NOMINAL_RIG[camera_by_id(camera_id).name]
    return renderer.image(step, camera, *RENDER_SIZE, labels=True)


def draw_drive(seed: int, twice: Sequence[str] = ()) -> tuple[Drive, np.random.Generator]:
    """A drive of a kind in turn, of those in ``twice`` two a turn, and the generator for what is
    drawn from it."""
    kinds = (*KINDS, *twice)
    return make_drive(kinds[seed % len(kinds)], seed), np.random.default_rng([seed, 1])


def examples(seed: int, camera_ids: Sequence[int], frames: int, count: int,
             labels: bool = False, twice: Sequence[str] = ()) -> Iterator[Example]:
    """At most ``count`` instants of one drive, in no order."""
    drive, rng = draw_drive(seed, twice)
    steps = instants(drive)
    if not steps:
        return
    renderer = Renderer(drive)
    for step in rng.choice(steps, size=min(count, len(steps)), replace=False):
        yield example(sample_at(drive, int(step)), renderer, camera_ids, frames, labels=labels)


def labelled_images(seed: int, camera_ids: Sequence[int], count: int,
                    twice: Sequence[str] = ()) -> Iterator[LabelledImage]:
    """``count`` images of one drive at random instants; ahead is looked at as often as aside."""
    drive, rng = draw_drive(seed, twice)
    renderer = Renderer(drive)
    for _ in range(count):
        camera_id = int(rng.choice((1, 6) if rng.random() < 0.7 else camera_ids))
        step = int(rng.integers(len(drive.moving)))
        image, labels = _look(renderer, step, camera_id)
        yield LabelledImage(seen(image), class_shares(labels))


def class_shares(labels: np.ndarray) -> np.ndarray:
    """How much of each square each class covers, from a class map at ``RENDER_SIZE``."""
    side = CELL * RENDER_SIZE[0] // IMAGE_SIZE[0]
    rows, columns = labels.shape[0] // side, labels.shape[1] // side
    square = (np.arange(labels.shape[0])[:, None] // side * columns
              + np.arange(labels.shape[1])[None, :] // side)
    counts = np.bincount((square * len(LABELS) + labels).ravel(),
                         minlength=rows * columns * len(LABELS))
    return (counts.reshape(rows, columns, len(LABELS)) / side ** 2).astype(np.float16)
