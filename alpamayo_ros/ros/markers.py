"""A plan as RViz markers: candidates by rank, the vehicle's outline, the reasoning."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from scipy.spatial.transform import Rotation
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from alpamayo_ros.ros.conversions import PlacedPlan
from alpamayo_ros.ros.parameters import Footprint
from alpamayo_ros.types import Plan

_TEXT_HEIGHT_M = 0.6
_TEXT_ABOVE_M = 3.0


def _marker(placed: PlacedPlan, namespace: str, identity: int, kind: int, lifetime_s: float,
            color: ColorRGBA) -> Marker:
    marker = Marker(header=placed.header, ns=namespace, id=identity, type=kind, action=Marker.ADD,
                    color=color)
    marker.pose.orientation.w = 1.0
    marker.lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
    return marker


def rank_color(rank: int, count: int, plausible: bool) -> ColorRGBA:
    """Green for the selected one, through yellow to orange with the rank; faint red when
    implausible."""
    if not plausible:
        return ColorRGBA(r=0.8, g=0.1, b=0.1, a=0.25)
    share = rank / max(1, count - 1)
    return ColorRGBA(r=min(1.0, 2 * share), g=1.0 - 0.5 * share, b=0.1,
                     a=1.0 if rank == 0 else 0.7 - 0.4 * share)


def _points(rows: np.ndarray) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in rows.tolist()]


def outline(footprint: Footprint, placed: PlacedPlan) -> np.ndarray:
    """The closed outline of the vehicle at t0, (5, 3) m, in the frame of the plan."""
    front, rear, half = footprint.front_m, -footprint.rear_m, footprint.width_m / 2
    corners = np.array([[front, half, 0], [rear, half, 0], [rear, -half, 0], [front, -half, 0],
                        [front, half, 0]])
    return Rotation.from_quat(placed.origin_orientation).apply(corners) + placed.origin


def markers(plan: Plan, placed: PlacedPlan, footprint: Footprint, text: str,
            lifetime_s: float) -> MarkerArray:
    """Line strips in ns ``candidates`` (id = rank, from the vehicle on), ``footprint`` and
    ``reasoning``; each vanishes ``lifetime_s`` after it came."""
    result = MarkerArray()
    count = len(plan.candidates)
    # Worst first: displays draw in this order, so the selected one lies on top.
    for rank in reversed(range(count)):
        line = _marker(placed, 'candidates', rank, Marker.LINE_STRIP, lifetime_s,
                       rank_color(rank, count, plan.candidates[rank].plausible))
        line.scale.x = 0.25 if rank == 0 else 0.08
        line.points = _points(np.vstack([placed.origin, placed.positions[rank]]))
        result.markers.append(line)
    body = _marker(placed, 'footprint', 0, Marker.LINE_STRIP, lifetime_s,
                   ColorRGBA(r=0.2, g=0.6, b=1.0, a=1.0))
    body.scale.x = 0.1
    body.points = _points(outline(footprint, placed))
    label = _marker(placed, 'reasoning', 0, Marker.TEXT_VIEW_FACING, lifetime_s,
                    ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0))
    label.scale.z = _TEXT_HEIGHT_M
    label.pose.position.x, label.pose.position.y, label.pose.position.z = (
        placed.origin + [0.0, 0.0, _TEXT_ABOVE_M]).tolist()
    # RViz shows nothing at all for a marker without text.
    label.text = text or '(no reasoning)'
    result.markers += [body, label]
    return result
