"""The way the vehicle went after an instant: odometry read ahead of the replay."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from alpamayo_ros.alignment import ODOMETRY
from alpamayo_ros.buffers import OdometryBuffer
from alpamayo_ros.drive.bag import Bag, BagError, BagMessage
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.replay.feed import deserialize
from alpamayo_ros.replay.sources import ODOMETRY_TYPE, Sources
from alpamayo_ros.ros.conversions import ego_state
from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.types import EgoState

_SLACK_NS = 5_000_000_000


class Future:
    """Reads the odometry of ``bag`` forward, keeping ``length_ns`` and a little more of it."""

    def __init__(self, bag: Bag, sources: Sources, settings: NodeSettings, length_ns: int,
                 start_ns: int | None = None) -> None:
        """``start_ns``: recording time to begin at."""
        self._settings = settings
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._length_ns = length_ns
        self._buffer = OdometryBuffer(length_ns + _SLACK_NS)
        self._messages: Iterator[BagMessage] | None = bag.messages(
            [sources.topics[ODOMETRY]], start_ns=start_ns)

    def path(self, pose: EgoState, stamps_ns: list[int]) -> np.ndarray:
        """Return the positions (T, 3) m at ``stamps_ns`` in the ego frame of ``pose``.

        NaN beyond the recording, and where there is a gap in it. Ask for ascending poses.
        """
        self._read_to(stamps_ns[-1])
        tolerance = round(self._settings.alignment.odometry_max_gap_s * 1e9)
        states = [self._buffer.interpolate(stamp, tolerance) for stamp in stamps_ns]
        positions = np.array([state.position if state else [np.nan] * 3 for state in states])
        return Rotation.from_quat(pose.orientation).inv().apply(positions - pose.position)

    def _read_to(self, stamp_ns: int) -> None:
        while self._messages and (self._buffer.latest_stamp_ns or 0) < stamp_ns:
            try:
                message = next(self._messages, None)
            except BagError:
                message = None  # the replay itself comes here too, and says it
            if message is None:
                self._messages = None
                return
            try:
                state = ego_state(deserialize(self._store, message.data, ODOMETRY_TYPE),
                                  odometry_frame=self._settings.odometry_frame,
                                  base_frame=self._settings.base_frame)
            except AlpamayoError:
                continue
            newest = self._buffer.latest_stamp_ns
            # Time that goes back is another drive.
            if newest is not None and state.stamp_ns < newest - self._length_ns:
                self._messages = None
                return
            self._buffer.add(state)
            if self._buffer.jumps_back:
                self._messages = None
                return
