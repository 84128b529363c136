"""The words of the world: kinds of drives, causes a driver reacts to, manoeuvres a path can be."""

from __future__ import annotations

KINDS = ('clear_road', 'curve', 'slow_lead', 'braking_lead', 'standing_lead', 'red_light',
         'green_light', 'pedestrian', 'cones', 'cut_in', 'turn_left', 'turn_right',
         'go_straight', 'blocked_lane')
"""Kinds of drives; each has one thing the driver must react to."""

CAUSES = ('clear_road', 'curve', 'slow_lead', 'braking_lead', 'standing_lead', 'red_light',
          'green_light', 'pedestrian', 'cones', 'cut_in', 'junction', 'blocked_lane')
"""What can bind the driver; always something outside the vehicle."""

LONGITUDINAL = ('keep', 'accelerate', 'slow', 'stop', 'wait', 'any')
"""Along the path: 'slow' goes on slower, 'stop' comes to rest, 'wait' stays at rest; 'any' where
the text leaves it open."""

LATERAL = ('follow', 'turn_left', 'turn_right', 'pass_left', 'pass_right', 'any')
"""Across the path: 'follow' the lane, turn at a junction, pass something within or beside the
lane; 'any' where the text leaves it open."""
