"""What the cameras see of a drive: perspective, occlusion, light and weather, fast on one core.

Ground, shadows and things are polygons, selected, projected and clipped all at once; painting them
in order (ground first, then groups of faces from far to near) decides what hides what.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np

from alpamayo_ros.rig import MountedCamera
from alpamayo_ros.world.backdrop import Backdrop, weather
from alpamayo_ros.world.faces import (
    LAYER,
    ORDER,
    PAINT,
    PAVING,
    SHADOW,
    SHINE,
    SOLID,
    Faces,
    join,
    place,
)
from alpamayo_ros.world.ground import lay, shadows
from alpamayo_ros.world.light import Light
from alpamayo_ros.world.shapes import LABELS
from alpamayo_ros.world.types import Drive
from alpamayo_ros.world.view import View, fixed_point

__all__ = ['LABELS', 'Renderer']

_FINE_PIXELS = 2.0
"""Details smaller than this are left out."""
_VISOR = 0.3
"""Cosine to their heading from which on shining discs are seen: visors hide them from aside."""
_STEPS_KEPT = 8


class Renderer:
    """Renders the images of one drive.

    ``drive``: what stands still is prepared once, so keep the renderer for all its frames.
    """

    def __init__(self, drive: Drive) -> None:
        self._drive, self._look = drive, drive.look
        self._light = Light(drive.look)
        self._asphalt = self._light.ground * np.array(drive.look.asphalt, dtype=np.float32)[:, None]
        self._haze = drive.look.brightness * np.array(drive.look.haze, dtype=np.float32)[:, None]
        self._still = join([lay(drive.strips, drive.look, self._light),
                            shadows(drive.fixed, self._light),
                            place(drive.fixed, self._light, 0)])
        self._steps: dict[int, Faces] = {}
        self._backdrops: dict[tuple[MountedCamera, int, int], Backdrop] = {}

    def image(self, step: int, camera: MountedCamera, width: int, height: int, *,
              labels: bool = False,
              oversampling: int = 1) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return what a camera sees at a step: RGB uint8 (height, width, 3).

        With ``labels`` also the class of each pixel, uint8 (height, width): indices into
        ``LABELS``. ``oversampling``: how many times finer to draw, for smooth edges.
        Raises ``IndexError`` for a step outside the drive.
        """
        if not 0 <= step < len(self._drive.ego):
            raise IndexError(f'step {step}: expected 0 to {len(self._drive.ego) - 1}')
        canvas = self._paint(step, camera, width * oversampling, height * oversampling)
        image = cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB)
        if oversampling > 1:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        weather(image, self._look, zlib.crc32(f'{step} {camera.name}'.encode()))
        if not labels:
            return image
        middle = oversampling // 2
        return image, np.ascontiguousarray(canvas[middle::oversampling, middle::oversampling, 3])

    def _paint(self, step: int, camera: MountedCamera, width: int, height: int) -> np.ndarray:
        ego = self._drive.ego[step]
        view = View(ego, camera, width, height)
        backdrop = self._backdrops.get((camera, width, height))
        if backdrop is None:
            backdrop = Backdrop(self._look, self._light, camera, width, height)
            self._backdrops[camera, width, height] = backdrop
        polygons, colours, layer, far, order = self._select(self._at(step), view)
        sequence = np.lexsort((order, -far, layer))
        colours = colours[sequence].tolist()
        flat, lit = np.searchsorted(layer[sequence], (SHADOW, SOLID)).tolist()
        sequence = sequence.tolist()

        canvas = backdrop.canvas(ego[2])
        fill = cv2.fillConvexPoly
        for i, colour in zip(sequence[:flat], colours, strict=False):
            fill(canvas, polygons[i], colour, 8, 4)
        shadow = None
        if lit > flat and backdrop.row < height:
            shadow = np.full((height, width), 255, np.uint8)
            for i, colour in zip(sequence[flat:lit], colours[flat:lit], strict=True):
                fill(shadow, polygons[i], colour, 8, 4)
            shadow = shadow[backdrop.row:]
        backdrop.tone(canvas, shadow, ego)
        for i, colour in zip(sequence[lit:], colours[lit:], strict=True):
            fill(canvas, polygons[i], colour, 8, 4)
        return canvas

    def _at(self, step: int) -> Faces:
        """Return all faces at a step; the cameras of one step share them."""
        if step not in self._steps:
            if len(self._steps) >= _STEPS_KEPT:
                del self._steps[next(iter(self._steps))]
            things = self._drive.moving[step]
            self._steps[step] = join([self._still, shadows(things, self._light),
                                      place(things, self._light, step)])
        return self._steps[step]

    def _select(self, faces: Faces, view: View) -> tuple:
        """Return polygons, colours, layers, distances and orders of the faces in view."""
        seen, distance = view.sees(faces.centres, faces.radii)
        reach = np.where(seen, distance * (_FINE_PIXELS / view.focal), np.float32(np.inf))

        quads = np.flatnonzero(faces.quad_limits > reach[faces.quad_groups])
        outward = faces.normals[:, quads] * (view.eye[:, None] - faces.quads[:, 0, quads])
        quads = quads[outward.sum(axis=0) > 0.0]
        shown, pixels, cut = view.project(faces.quads[:, :, quads])
        cut_quads = quads[shown & cut]
        whole = np.flatnonzero(shown & ~cut)
        quads, pixels = quads[whole], pixels[:, :, whole]
        polygons = fixed_point(pixels)
        paint = np.flatnonzero(faces.quad_rows[LAYER, quads] == PAINT)
        cover = _cover(pixels[:, :, paint])
        if len(cut_quads):
            shown, pixels = view.project_cut(faces.quads[:, :, cut_quads])
            quads = np.concatenate([quads, cut_quads[shown]])
            polygons += fixed_point(pixels[:, :, shown])

        sprites = np.flatnonzero(faces.sprite_limits > reach[faces.sprite_groups])
        sprites, pixels = _turned(faces, sprites, view)
        polygons += fixed_point(pixels)

        rows = np.concatenate([faces.quad_rows[:, quads], faces.sprite_rows[:, sprites]], axis=1)
        groups = np.concatenate([faces.quad_groups[quads], faces.sprite_groups[sprites]])
        layer, tones = rows[LAYER], rows[:3]
        far = np.where(layer == SOLID, distance[groups], np.float32(0.0))
        # Lamps shine through haze further than paint.
        clear = np.exp(far * (0.6 * rows[SHINE] - 1.0) * np.float32(1.0 / self._look.haze_m))
        tones -= self._haze
        tones *= clear
        tones += self._haze
        np.minimum(tones, 255.0, out=tones)
        thin = paint[cover < 1.0]
        cover = cover[cover < 1.0]
        tones[:, thin] = self._asphalt + (tones[:, thin] - self._asphalt) * cover
        rows[3, thin[cover < 0.4]] = LABELS.index('asphalt')
        # Paving and paint keep the order of the layout among each other.
        layer[layer == PAINT] = PAVING
        return polygons, rows[:4].T, layer, far, rows[ORDER]


def _cover(pixels: np.ndarray) -> np.ndarray:
    """Return how much of the pixels that are drawn for it each quad (2, 4, N) covers.

    Filling draws every edge a pixel wide, so what is thinner must fade instead.
    """
    one, other = pixels[:, 2] - pixels[:, 0], pixels[:, 3] - pixels[:, 1]
    area = 0.5 * np.abs(one[0] * other[1] - one[1] * other[0])
    edges = pixels - pixels[:, [1, 2, 3, 0]]
    border = 0.5 * np.hypot(edges[0], edges[1]).sum(axis=0)
    return np.minimum(1.0, 2.2 * area / (area + border + 1.0))


def _turned(faces: Faces, sprites: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Turn sprites to the eye; return those in view and their pixels (2, 8, N)."""
    anchors, headings = faces.anchors[:, sprites], faces.headings[:, sprites]
    to_eye = view.eye[:2, None] - anchors[:2]
    distance = np.hypot(to_eye[0], to_eye[1]) + np.float32(1e-6)
    headings = np.where(headings.any(axis=0), headings, to_eye / distance)
    aside = _VISOR * faces.sprite_rows[SHINE, sprites] * distance
    facing = np.flatnonzero((headings * to_eye).sum(axis=0) > aside)
    sprites, anchors, headings = sprites[facing], anchors[:, facing], headings[:, facing]
    wide, tall = faces.outlines[:, :, sprites]
    corners = np.empty((3, 8, len(sprites)), dtype=np.float32)
    corners[0] = anchors[0] - headings[1] * wide
    corners[1] = anchors[1] + headings[0] * wide
    corners[2] = anchors[2] + tall
    shown, pixels, cut = view.project(corners)
    shown &= ~cut
    return sprites[shown], pixels[:, :, shown]
