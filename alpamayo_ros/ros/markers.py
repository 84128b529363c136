"""A plan as RViz markers: candidates by rank, the vehicle then and now, the reasoning.

What belongs to the plan (``candidates``, ``footprint``, ``reasoning``) has a pose, that of
``base_link`` at t0, and points relative to it: displays compute in float32, and a vehicle may be
kilometres from the origin. ``vehicle`` is the outline again, in ``base_link`` and locked to it, so
that it moves on while the plan stays where it was made; it alone needs TF when the paths are in
the display's fixed frame.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.colors import RGBA, VEHICLE, candidate_color
from alpamayo_ros.ros.conversions import PlacedPlan
from alpamayo_ros.ros.messages import ROS, Messages
from alpamayo_ros.ros.node_settings import Footprint, NodeSettings
from alpamayo_ros.types import Plan

if TYPE_CHECKING:
    from visualization_msgs.msg import Marker, MarkerArray

COLUMNS = 48
"""Characters a line of the reasoning has at most."""
MAX_ROWS = 12
"""Lines of the reasoning shown at most; of a longer one the last line says that it goes on."""

# Above the ground plane and the grid, and above each other in order of rank: what lies at one
# height flickers.
_LOWEST_M, _HIGHEST_M = 0.05, 0.15
_VEHICLE_LIFT_M = 0.2
_TEXT_BLOCK_M = 3.0
_TEXT_HEIGHTS_M = (0.35, 0.7)
_TEXT_GAP_M = 2.0
_TEXT_LIFT_M = 0.5
_LIFETIME_FACTOR = 1.3


def outline(footprint: Footprint) -> np.ndarray:
    """The closed outline of the vehicle in base_link, (5, 3) m."""
    front, rear, half = footprint.front_m, -footprint.rear_m, footprint.width_m / 2
    return np.array([[front, half, 0.0], [rear, half, 0.0], [rear, -half, 0.0],
                     [front, -half, 0.0], [front, half, 0.0]])


def wrapped(text: str) -> str:
    """The text in at most ``MAX_ROWS`` lines of ``COLUMNS`` characters that a display can draw.

    RViz' font has no glyphs beyond ASCII, and without one visible character it draws nothing or
    fails: other characters become ``?``, and no text a note that there is none.
    """
    plain = ''.join(char if ' ' <= char <= '~' else '?' for char in ' '.join(text.split()))
    return textwrap.fill(plain, COLUMNS, max_lines=MAX_ROWS, placeholder=' ...') or '(no reasoning)'


class _Maker:
    """Makes the markers of one plan: what they have in common, and what each has of its own."""

    def __init__(self, placed: PlacedPlan, base_frame: str, lifetime_s: float,
                 messages: Messages) -> None:
        self._placed, self._base_frame, self._messages = placed, base_frame, messages
        self._lifetime_s = lifetime_s
        self._attitude = Rotation.from_quat(placed.origin_orientation)

    def forget_all(self) -> Marker:
        """Displays forget whatever an earlier plan left."""
        kind = self._messages.Marker
        return kind(header=self._placed.header(self._messages), action=kind.DELETEALL)

    def of_plan(self, namespace: str, identity: int, kind: int, color: RGBA,
                offset: tuple[float, float, float]) -> Marker:
        """Something that stays where base_link was at t0, moved by ``offset`` (m, in base_link)."""
        marker = self._marker(namespace, identity, kind, color)
        position, orientation = marker.pose.position, marker.pose.orientation
        position.x, position.y, position.z = (
            self._placed.origin + self._attitude.apply(offset)).tolist()
        orientation.x, orientation.y, orientation.z, orientation.w = (
            self._placed.origin_orientation.tolist())
        # In a frame of the world it can be locked: it then is right in any fixed frame. In
        # base_link it must not be, or it would move along with the vehicle.
        marker.frame_locked = self._placed.frame_id != self._base_frame
        return marker

    def of_vehicle(self, namespace: str, kind: int, color: RGBA, lift_m: float) -> Marker:
        """Something that moves with the vehicle."""
        marker = self._marker(namespace, 0, kind, color)
        marker.header.frame_id = self._base_frame
        marker.pose.position.z = lift_m
        marker.frame_locked = True
        return marker

    def points(self, rows: np.ndarray) -> list:
        """(N, 3) m as points."""
        point = self._messages.Point
        return [point(x=x, y=y, z=z) for x, y, z in rows.tolist()]

    def _marker(self, namespace: str, identity: int, kind: int, color: RGBA) -> Marker:
        messages, (red, green, blue, opacity) = self._messages, color
        return messages.Marker(
            header=self._placed.header(messages), ns=namespace, id=identity, type=kind,
            action=messages.Marker.ADD,
            color=messages.ColorRGBA(r=red, g=green, b=blue, a=opacity),
            lifetime=messages.Duration(sec=int(self._lifetime_s),
                                       nanosec=int(self._lifetime_s % 1 * 1e9)))


def _candidates(plan: Plan, make: _Maker, line_strip: int) -> list[Marker]:
    count = len(plan.candidates)
    result = []
    # Worst first: displays without depth draw in this order, so the selected one lies on top.
    for rank in reversed(range(count)):
        candidate = plan.candidates[rank]
        lift = _HIGHEST_M - (_HIGHEST_M - _LOWEST_M) * rank / max(1, count - 1)
        line = make.of_plan('candidates', rank, line_strip,
                            candidate_color(rank, count, candidate.plausible), (0.0, 0.0, lift))
        line.scale.x = 0.3 if rank == 0 and candidate.plausible else 0.08
        line.points = make.points(np.vstack([np.zeros(3), candidate.xyz]))
        result.append(line)
    return result


def _reasoning(text: str, footprint: Footprint, make: _Maker, text_view_facing: int) -> Marker:
    shown = wrapped(text)
    rows = shown.count('\n') + 1
    height = float(np.clip(_TEXT_BLOCK_M / rows, *_TEXT_HEIGHTS_M))
    # Behind the vehicle: nothing of the plan is there. The marker's place is the block's middle.
    behind = footprint.rear_m + _TEXT_GAP_M + rows * height / 2
    label = make.of_plan('reasoning', 0, text_view_facing, VEHICLE, (-behind, 0.0, _TEXT_LIFT_M))
    label.text = shown
    label.scale.z = height
    # The width of a space. RViz would take that of a text of height 1.
    label.scale.x = 0.5 * height
    return label


def markers(plan: Plan, placed: PlacedPlan, footprint: Footprint, text: str, lifetime_s: float,
            base_frame: str = 'base_link', messages: Messages = ROS) -> MarkerArray:
    """Lines in ns ``candidates`` (id = rank, from the vehicle on), ``footprint`` (where the vehicle
    was at t0), ``vehicle`` (where it is) and the text in ``reasoning``.

    Each vanishes ``lifetime_s`` after it came, and all when the next array comes.
    """
    make = _Maker(placed, base_frame, lifetime_s, messages)
    kind = messages.Marker
    then = make.of_plan('footprint', 0, kind.LINE_STRIP, (*VEHICLE[:3], 0.5),
                        (0.0, 0.0, _VEHICLE_LIFT_M))
    then.scale.x = 0.05
    now = make.of_vehicle('vehicle', kind.LINE_STRIP, VEHICLE, _VEHICLE_LIFT_M)
    now.scale.x = 0.1
    for body in (then, now):
        body.points = make.points(outline(footprint))
    return messages.MarkerArray(markers=[
        make.forget_all(), *_candidates(plan, make, kind.LINE_STRIP), then, now,
        _reasoning(text, footprint, make, kind.TEXT_VIEW_FACING)])


def lifetime_s(settings: NodeSettings, t0_ns: int, previous_t0_ns: int | None) -> float:
    """A little over the time until the next plan is to be expected, s."""
    longest, period = settings.max_plan_age_s, settings.plan_period_s
    if previous_t0_ns is None or t0_ns <= previous_t0_ns:
        period = max(period, longest)
    else:
        period = max(period, min(longest, (t0_ns - previous_t0_ns) / 1e9))
    return _LIFETIME_FACTOR * period
