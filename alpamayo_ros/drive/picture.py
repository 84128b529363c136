"""One plan as a picture for people: six views, the candidates from above, the reasoning."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from alpamayo_ros.rig import FOOTPRINT_M, MountedCamera

_VIEWS = (('cross_left', 'front_wide', 'cross_right'), ('rear_left', 'front_tele', 'rear_right'))
_BEST = '#00c853'
_BAD = '#d50000'
_RANKS = matplotlib.colormaps['plasma_r']
_RANK_LOW, _RANK_HIGH = 0.18, 0.92
_INK = '#20242a'


@dataclass(frozen=True)
class View:
    """One camera's image nearest to t0: RGB uint8 (H, W, 3), and its stamp minus t0 in ms."""

    image: np.ndarray
    offset_ms: float


@dataclass(frozen=True)
class PlanScene:
    """What the picture shows, everything in the ego frame at t0, m.

    ``candidates``: (T, 3) arrays, best first, each with waypoint k at t0 + (k + 1) dt.
    ``plausible``: one flag a candidate. ``history``: (H, 3), oldest first. ``title``: a line about
    the plan; ``notes``: short lines with numbers; ``banner``: a warning across the top, or empty.
    """

    views: Mapping[str, View]
    candidates: Sequence[np.ndarray]
    plausible: Sequence[bool]
    history: np.ndarray
    reasoning: str
    title: str
    notes: Sequence[str] = ()
    banner: str = ''


def printable(text: str, *, only_latin: bool = False) -> str:
    """Return ``text`` in one line that a terminal can show: what cannot be seen is escaped.

    With ``only_latin``, letters a plain font has no glyphs for are escaped as well.
    """
    shown = []
    for char in text:
        if char in '\n\t ':
            shown.append(' ')
        elif char.isprintable() and not (only_latin and ord(char) > 0x24F and char != '\ufffd'):
            shown.append(char)
        else:
            shown.append(char.encode('unicode_escape').decode('ascii'))
    return ''.join(shown).strip()


def draw_plan(scene: PlanScene, rig: Mapping[str, MountedCamera], out: Path) -> None:
    """Write the picture of ``scene`` to ``out`` (PNG)."""
    figure = Figure(figsize=(19.2, 9.4), dpi=100, facecolor='white')
    FigureCanvasAgg(figure)
    top = 0.965
    if scene.banner:
        figure.text(0.5, 0.968, scene.banner, ha='center', va='center', fontsize=17, color='white',
                    weight='bold', parse_math=False,
                    bbox={'facecolor': _BAD, 'edgecolor': 'none', 'boxstyle': 'square,pad=0.35'})
        top = 0.905
    figure.text(0.012, top, scene.title, ha='left', va='center', fontsize=14, color=_INK,
                weight='bold', parse_math=False)
    grid = figure.add_gridspec(2, 3, left=0.012, right=0.715, top=top - 0.055, bottom=0.275,
                               hspace=0.12, wspace=0.025)
    for row, names in enumerate(_VIEWS):
        for column, name in enumerate(names):
            _draw_view(figure.add_subplot(grid[row, column]), scene, name, rig[name])
    box = (0.752, 0.135, 0.235, top - 0.02 - 0.135)
    _draw_above(figure.add_axes(box), scene, box[3] * 9.4 / (box[2] * 19.2))
    bar = figure.add_axes((0.752, 0.04, 0.235, 0.012))
    _draw_key(figure, bar, len(scene.candidates))
    _draw_text(figure, scene)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, format='png')


def _colour(rank: int, count: int) -> tuple:
    return _RANKS(_RANK_HIGH - (_RANK_HIGH - _RANK_LOW) * rank / max(1, count - 1))


def _dense(path: np.ndarray, step_m: float = 0.25) -> np.ndarray:
    """Return ``path`` (T, 3) from the vehicle on, with points no farther apart than ``step_m``."""
    points = np.vstack([np.zeros((1, 3)), path])
    points = points[np.isfinite(points).all(axis=1)]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if along[-1] < 1e-6:
        return points
    places = np.linspace(0.0, along[-1], int(min(4000, along[-1] / step_m)) + 2)
    return np.stack([np.interp(places, along, points[:, k]) for k in range(3)], axis=1)


def _ribbon(path: np.ndarray, half_width: float) -> np.ndarray:
    """Return the quads (N, 4, 3) of a band around ``path``, as wide as the vehicle."""
    points = _dense(path)
    heading = np.gradient(points[:, :2], axis=0)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
    side = np.stack([-heading[:, 1], heading[:, 0], np.zeros(len(points))], axis=1) * half_width
    left, right = points + side, points - side
    return np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)


def _draw_view(axes: Axes, scene: PlanScene, name: str, camera: MountedCamera) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    label = f'{name.replace("_", " ")}, {camera.fov_deg:.0f}°'
    view = scene.views.get(name)
    if view is None:
        axes.set_title(f'{label}: no image', fontsize=11, color=_INK)
        axes.set_aspect(9 / 16)
        return
    height, width = view.image.shape[:2]
    axes.imshow(view.image, interpolation='lanczos')
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_title(f'{label}  (t0 {view.offset_ms:+.0f} ms)', fontsize=11, color=_INK)
    count = len(scene.candidates)
    for rank in range(count - 1, 0, -1):
        pixels, _ = camera.project(_dense(scene.candidates[rank]), width, height)
        axes.plot(*_near(pixels, width, height).T, linewidth=1.3, alpha=0.85,
                  color=_colour(rank, count) if scene.plausible[rank] else _BAD,
                  linestyle='-' if scene.plausible[rank] else ':')
    if not count:
        return
    quads = _ribbon(scene.candidates[0], FOOTPRINT_M[2])
    pixels, depth = camera.project(quads.reshape(-1, 3), width, height)
    seen = (depth.reshape(-1, 4) > 0.3).all(axis=1)
    for quad in pixels.reshape(-1, 4, 2)[seen]:
        axes.add_patch(Polygon(quad, closed=True, facecolor=_BEST, alpha=0.28, linewidth=0))
    pixels, _ = camera.project(_dense(scene.candidates[0]), width, height)
    axes.plot(*_near(pixels, width, height).T, linewidth=2.6, color=_BEST)


def _near(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Break a line where it leaves the picture by far, so no huge coordinates are drawn."""
    far = (np.abs(pixels - [width / 2, height / 2]) > [2 * width, 3 * height]).any(axis=1)
    return np.where(far[:, None], np.nan, pixels)


def _draw_above(axes: Axes, scene: PlanScene, tallness: float) -> None:
    """Draw candidates, history and vehicle from above, driving direction up, left on the left.

    ``tallness``: height of the drawing through its width.
    """
    count = len(scene.candidates)
    lines, colours = [], []
    for rank in range(count - 1, 0, -1):
        path = np.vstack([np.zeros((1, 3)), scene.candidates[rank]])
        lines.append(np.stack([-path[:, 1], path[:, 0]], axis=1))
        colours.append(_colour(rank, count) if scene.plausible[rank] else _BAD)
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.4, zorder=2))
    if count:
        best = np.vstack([np.zeros((1, 3)), scene.candidates[0]])
        axes.plot(-best[:, 1], best[:, 0], color=_BEST, linewidth=3.2, zorder=4)
        seconds = best[10::10]
        axes.plot(-seconds[:, 1], seconds[:, 0], linestyle='none', marker='o', markersize=5,
                  markerfacecolor='white', markeredgecolor=_BEST, zorder=5)
    axes.plot(-scene.history[:, 1], scene.history[:, 0], color=_INK, marker='.', markersize=5,
              linewidth=1.2, zorder=3)
    rear, front, half = FOOTPRINT_M
    axes.add_patch(Polygon([(-half, rear), (half, rear), (half, front - 0.7), (0.0, front),
                            (-half, front - 0.7)], closed=True, facecolor='#b0bec5',
                           edgecolor=_INK, linewidth=1.2, zorder=6))
    everything = np.vstack([scene.history[:, :2], [[rear, 0.0], [front, 0.0]],
                            *(path[:, :2] for path in scene.candidates)])
    everything = everything[np.isfinite(everything).all(axis=1)]
    low, high = everything.min(axis=0) - 3.0, everything.max(axis=0) + 3.0
    length = max(high[0] - low[0], 2.0 * tallness * max(abs(low[1]), abs(high[1]), 6.0))
    axes.set_xlim(-0.5 * length / tallness, 0.5 * length / tallness)
    # What room is left over goes ahead of the vehicle rather than behind it.
    axes.set_ylim(low[0], low[0] + length)
    axes.set_aspect('equal', adjustable='box')
    axes.set_axisbelow(True)
    axes.grid(color='#e0e0e0')
    # Left is positive in the ego frame, and on the left of the picture.
    axes.xaxis.set_major_formatter(lambda value, position: f'{0.0 - value:g}')
    axes.set_title(f'{count} candidate paths from above, ego frame at t0', fontsize=12, color=_INK)
    axes.set_xlabel('left  ←  y, m  →  right', fontsize=10)
    axes.set_ylabel('ahead: x, m', fontsize=10)


def _draw_key(figure: Figure, axes: Axes, count: int) -> None:
    colours = ScalarMappable(
        Normalize(1, max(2, count)),
        matplotlib.colors.ListedColormap([_colour(rank, count) for rank in range(max(2, count))]))
    figure.colorbar(colours, cax=axes, orientation='horizontal')
    axes.tick_params(labelsize=9)
    axes.set_xlabel('rank of a candidate (1: nearest to all the others)', fontsize=9, labelpad=1)


def _draw_text(figure: Figure, scene: PlanScene) -> None:
    reasoning = printable(scene.reasoning, only_latin=True) or '(empty)'
    lines = textwrap.wrap(reasoning, 132)
    if len(lines) > 4:
        lines = [*lines[:4], '…']
    figure.text(0.012, 0.25, 'Reasoning of the model', fontsize=12, weight='bold', color=_INK,
                va='top')
    figure.text(0.012, 0.222, '\n'.join(lines), fontsize=12, color=_INK, va='top',
                family='monospace', parse_math=False, linespacing=1.35)
    key = ['green: the selected path, as wide as the vehicle, a ring each second',
           'purple to orange: the other candidates, from the best rank to the last',
           'red: not plausible        black: where the vehicle came from']
    figure.text(0.012, 0.095, '\n'.join(key), fontsize=11, color='#4a5058', va='top',
                linespacing=1.4)
    figure.text(0.33, 0.095, '\n'.join(scene.notes), fontsize=11, color='#4a5058', va='top',
                parse_math=False, linespacing=1.4)
