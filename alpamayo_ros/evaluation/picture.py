"""One evaluated scene as a picture: the front view and the road from above, with every path."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from alpamayo_ros.drive.picture import printable
from alpamayo_ros.evaluation.judge import Judgement
from alpamayo_ros.evaluation.scenes import Scene
from alpamayo_ros.rig import FOOTPRINT_M, NOMINAL_RIG
from alpamayo_ros.types import Plan
from alpamayo_ros.world.types import Sample, Strip, Thing

_SELECTED, _TRUE, _OTHER, _BAD, _INK = '#00c853', '#ffffff', '#80d8ff', '#d50000', '#20242a'
_RANKS = matplotlib.colormaps['plasma_r']
_GROUND, _ASPHALT = '#b7bda0', '#6d7075'
_PAINT = {'asphalt': _ASPHALT, 'sidewalk': '#a9a59c', 'stop_line': '#f4f4f4',
          'crossing': '#d8d8d8', 'edge_line': '#e6e6e6', 'solid_line': '#e6e6e6',
          'dashed_line': '#e6e6e6'}
_SIGNALS = {'red': '#ff1744', 'amber': '#ffc400', 'green': '#00e676'}


def draw_scene(scene: Scene, plan: Plan, figures: Judgement, out: Path) -> None:
    """Write the picture of a scene and its plan to ``out`` (PNG)."""
    figure = Figure(figsize=(17.0, 8.6), dpi=90, facecolor='white')
    FigureCanvasAgg(figure)
    _front(figure.add_axes((0.01, 0.27, 0.64, 0.67)), scene, plan)
    _above(figure.add_axes((0.70, 0.06, 0.29, 0.88)), scene.sample, plan)
    _words(figure, scene, plan, figures)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, format='png')


def _colour(plan: Plan, rank: int) -> tuple | str:
    if not plan.candidates[rank].plausible:
        return _BAD
    return _RANKS(0.92 - 0.72 * rank / max(1, len(plan.candidates) - 1))


def _futures(sample: Sample) -> list[tuple[np.ndarray, str]]:
    return [(sample.future_xyz, _TRUE), *((other, _OTHER) for other in sample.others)]


def _front(axes: Axes, scene: Scene, plan: Plan) -> None:
    camera = NOMINAL_RIG['front_wide']
    height, width = scene.front.shape[:2]
    axes.imshow(scene.front, interpolation='lanczos')
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.set_title(f'front wide at t0   {scene.scene_id.kind}, seed {scene.scene_id.seed}',
                   fontsize=13, color=_INK)

    def line(path: np.ndarray, **style: object) -> None:
        pixels, _ = camera.project(_dense(path), width, height)
        far = (np.abs(pixels - [width / 2, height / 2]) > [2 * width, 3 * height]).any(axis=1)
        axes.plot(*np.where(far[:, None], np.nan, pixels).T, **style)

    for rank in range(len(plan.candidates) - 1, 0, -1):
        line(plan.candidates[rank].xyz, color=_colour(plan, rank), linewidth=1.1, alpha=0.8)
    line(plan.candidates[0].xyz, color=_SELECTED if plan.selected else _BAD, linewidth=4)
    for path, colour in _futures(scene.sample):
        line(path, color=colour, linewidth=2, linestyle=(0, (4, 3)))


def _dense(path: np.ndarray) -> np.ndarray:
    """Points every quarter of a metre, from the vehicle on."""
    points = np.vstack([np.zeros((1, 3)), path])
    points = points[np.isfinite(points).all(axis=1)]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0.0, along[-1], int(min(2000, 4 * along[-1])) + 2)
    return np.stack([np.interp(places, along, points[:, axis]) for axis in range(3)], axis=1)


def _above(axes: Axes, sample: Sample, plan: Plan) -> None:
    """Driving direction up, left on the left."""
    pose = sample.drive.ego[sample.step, :3]
    axes.set_facecolor(_GROUND)
    for strip in sample.drive.strips:
        axes.add_collection(PolyCollection(_band(strip, pose), facecolor=_PAINT.get(
            strip.kind, _ASPHALT), edgecolor='none', zorder=1))
    for thing in sample.drive.things(sample.step):
        _thing(axes, thing, pose)
    lines = [_up(np.vstack([np.zeros((1, 3)), item.xyz])) for item in plan.candidates]
    ranks = range(len(lines) - 1, 0, -1)
    axes.add_collection(LineCollection([lines[rank] for rank in ranks], linewidths=1.2, zorder=4,
                                       colors=[_colour(plan, rank) for rank in ranks]))
    axes.plot(*lines[0].T, color=_SELECTED if plan.selected else _BAD, linewidth=3.5, zorder=5)
    for path, colour in _futures(sample):
        axes.plot(*_up(path).T, color=colour, linewidth=1.8, linestyle=(0, (4, 3)), zorder=6)
        axes.plot(*_up(path[-1:]).T, marker='o', color=colour, markeredgecolor=_INK, zorder=7)
    axes.plot(*_up(sample.history_xyz).T, color=_INK, marker='.', markersize=4, zorder=6)
    rear, front, half = FOOTPRINT_M
    axes.add_patch(Polygon([(-half, rear), (half, rear), (half, front), (-half, front)],
                           closed=True, facecolor='#eceff1', edgecolor=_INK, zorder=5))
    seen = np.vstack([item.xyz for item in plan.candidates]
                     + [path for path, _ in _futures(sample)])
    seen = seen[np.isfinite(seen).all(axis=1)]
    length = max(45.0, seen[:, 0].max() + 25.0, 3.4 * np.abs(seen[:, 1]).max() + 10.0)
    axes.set(xlim=(-0.3 * length, 0.3 * length), ylim=(-0.13 * length, 0.87 * length))
    axes.set_aspect('equal', adjustable='box')
    axes.xaxis.set_major_formatter(lambda value, position: f'{0.0 - value:g}')
    axes.set_xlabel('left  ←  y, m  →  right')
    axes.set_ylabel('ahead: x, m')


def _up(points: np.ndarray) -> np.ndarray:
    """Ego (N, 2 or 3) as drawn: ahead is up."""
    return np.stack([-points[:, 1], points[:, 0]], axis=1)


def _in_ego(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return (np.asarray(points)[:, :2] - pose[:2]) @ np.array([[cos, -sin], [sin, cos]])


def _band(strip: Strip, pose: np.ndarray) -> np.ndarray:
    """The quads (N, 4, 2) of a strip, as drawn; only the painted ones of a dashed line."""
    points = _in_ego(strip.points, pose)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = along
    if strip.dash is not None:
        places = np.unique(np.concatenate(
            [np.arange(0.0, along[-1], sum(strip.dash)),
             np.arange(strip.dash[0], along[-1], sum(strip.dash))]))
        points = np.stack([np.interp(places, along, points[:, axis]) for axis in (0, 1)], axis=1)
    if len(points) < 2:
        return np.zeros((0, 4, 2))
    heading = np.gradient(points, axis=0)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
    side = np.stack([-heading[:, 1], heading[:, 0]], axis=1) * strip.width / 2
    left, right = _up(points + side), _up(points - side)
    quads = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
    return quads[::2] if strip.dash is not None else quads


def _thing(axes: Axes, thing: Thing, pose: np.ndarray) -> None:
    length, width = max(thing.size[0], 0.4), max(thing.size[1], 0.4)
    corners = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * [length / 2, width / 2]
    cos, sin = np.cos(thing.yaw), np.sin(thing.yaw)
    placed = corners @ np.array([[cos, sin], [-sin, cos]]) + [thing.x, thing.y]
    drawn = _up(_in_ego(placed, pose))
    colour = _SIGNALS.get(thing.state, tuple(value / 255 for value in thing.colour))
    brakes = 'braking' in thing.state
    axes.add_patch(Polygon(drawn, closed=True, facecolor=colour, zorder=3,
                           edgecolor=_BAD if brakes else _INK, linewidth=2.2 if brakes else 0.6))
    if thing.kind == 'traffic_light':
        axes.plot(*drawn.mean(axis=0), marker='o', markersize=9, color=colour, zorder=3,
                  markeredgecolor=_INK)


def _words(figure: Figure, scene: Scene, plan: Plan, figures: Judgement) -> None:
    sample = scene.sample
    text = plan.reasoning[plan.candidates[0].reasoning].cot
    said = printable(text, only_latin=True) or '(empty)'
    lines = [f'instruction: {sample.navigation or "none"}',
             *_wrapped('the model says: ', said), *_wrapped('true: ', sample.reasoning)]
    figure.text(0.012, 0.235, '\n'.join(lines), fontsize=12, family='monospace', color=_INK,
                va='top', parse_math=False, linespacing=1.4)
    notes = [f'cause: {_mark(figures["cause"])}   reasoning and path agree: '
             f'{_mark(figures["agrees"])}   ADE {figures["ade_6.4"]:.2f} m   minADE '
             f'{figures["min_ade_6.4"]:.2f} m   v0 {plan.v0:.1f} m/s   plausible '
             f'{100 * figures["plausible_share"]:.0f} %',
             'green: selected (red: not plausible)   purple to orange: by rank   dashed white: the '
             'true future   dashed blue: another sensible one   black: history']
    figure.text(0.012, 0.075, '\n'.join(notes), fontsize=10.5, color='#4a5058', va='top',
                parse_math=False, linespacing=1.4)


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, 104, initial_indent=label, subsequent_indent=' ' * len(label),
                         max_lines=3)


def _mark(right: float | bool | None) -> str:
    return 'left open' if right is None else 'right' if right else 'WRONG'
