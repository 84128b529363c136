"""From the messages of a bag to the buffers, as the node's intake does it, one after the other."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.alignment import ODOMETRY, Refusal, align_at
from alpamayo_ros.buffers import DROPPED, FrameBuffer, OdometryBuffer
from alpamayo_ros.drive.bag import BagError, BagMessage
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.images import small_copy
from alpamayo_ros.replay.sources import Sources
from alpamayo_ros.ros.conversions import decode_image, ego_state, stamp_to_ns
from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.ros.topics import NAVIGATION
from alpamayo_ros.types import CameraFrame, EgoState, ImagePatches, Observation

PREVIEW_WIDTH = 640


@dataclass
class StreamCount:
    """What became of the messages of one stream; ``problem``: the first that was refused."""

    messages: int = 0
    used: int = 0
    skipped: int = 0
    refused: int = 0
    problem: str = ''


@dataclass
class Feed:
    """Buffers that are filled from a bag.

    ``prepare``: RGB uint8 (H, W, 3) to patches. ``instants``: those to plan at, ascending, ns;
    images that no window of them can hold are left undecoded. ``counts``: by stream. ``decode_ms``:
    milliseconds a decoded image took lately.
    """

    settings: NodeSettings
    sources: Sources
    prepare: Callable[[np.ndarray], ImagePatches]
    instants: Sequence[int]
    counts: dict[str, StreamCount] = field(init=False)
    navigation: str | None = None
    decode_ms: float = 0.0

    def __post_init__(self) -> None:
        alignment = self.settings.alignment
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._frames = {
            camera.name: FrameBuffer(camera, alignment.frame_horizon_ns,
                                     grid_ns=round(alignment.grid_s * 1e9))
            for camera in self.settings.cameras}
        self._odometry = OdometryBuffer(alignment.odometry_horizon_ns)
        self._streams = {topic: stream for stream, topic in self.sources.topics.items()}
        self._tolerance_ns = round(alignment.frame_tolerance_s * 1e9)
        self.counts = {stream: StreamCount() for stream in self.sources.topics}

    def take(self, message: BagMessage, next_t0_ns: int | None) -> None:
        """Take a message of one of the topics; ``next_t0_ns``: the next instant to plan at.

        A message that cannot be used is counted. ``BagError`` when the stamps of a stream jump
        back: what follows is another drive.
        """
        stream = self._streams[message.topic]
        count = self.counts[stream]
        count.messages += 1
        try:
            content = deserialize(self._store, message.data, self.sources.types[stream])
            if stream == NAVIGATION:
                self.navigation = content.data.strip() or None
                note = None
            elif stream == ODOMETRY:
                note = self._odometry.add(self._state(content))
            else:
                note = self._image(stream, content, next_t0_ns)
        except AlpamayoError as error:
            note = DROPPED + str(error)
        if note == _SKIPPED:
            count.skipped += 1
        elif note and note.startswith(DROPPED):
            count.refused += 1
            count.problem = count.problem or note.removeprefix(DROPPED)
        else:
            count.used += 1
        buffer = self._frames.get(stream, self._odometry)
        if buffer.jumps_back:
            raise BagError(f'{stream}: {note}; a replay ends where time goes back')

    def observe(self, t0_ns: int, accepts_navigation: bool) -> Observation | Refusal:
        """Make the observation of an instant; the refusal is ``waiting`` while messages are due."""
        return align_at(t0_ns, self._frames, self._odometry, self.settings.alignment,
                        navigation=self.navigation if accepts_navigation else None)

    def is_due(self, t0_ns: int) -> bool:
        """Tell cheaply whether ``observe`` can answer other than waiting."""
        newest = [buffer.latest_stamp_ns or 0
                  for buffer in (*self._frames.values(), self._odometry)]
        return (min(newest) >= t0_ns
                or max(newest) - t0_ns > round(self.settings.alignment.stall_s * 1e9))

    def fallen_behind(self, t0_ns: int) -> tuple[str, str] | None:
        """At the end of a bag: the stream that ended too early for t0, and the sentence about it.

        None where all of them ended with the bag.
        """
        ends = {name: buffer.latest_stamp_ns for name, buffer in self._frames.items()}
        ends[ODOMETRY] = self._odometry.latest_stamp_ns
        stall_s = self.settings.alignment.stall_s
        name, end = min(ends.items(), key=lambda item: item[1] or 0)
        if end is None:
            return name, 'nothing has arrived yet'
        short = max(end or 0 for end in ends.values()) - end
        if short <= stall_s * 1e9:
            return None
        return name, (f'ends {(t0_ns - end) / 1e9:.2f} s before t0 and {short / 1e9:.2f} s before '
                      f'the other streams, limit {stall_s:.2f} s')

    def _state(self, message: object) -> EgoState:
        return ego_state(message, odometry_frame=self.settings.odometry_frame,
                         base_frame=self.settings.base_frame)

    def _image(self, stream: str, message: object, next_t0_ns: int | None) -> str | None:
        buffer, stamp_ns = self._frames[stream], stamp_to_ns(message.header.stamp)
        if not buffer.wants(stamp_ns):
            return _SKIPPED
        horizon = self.settings.alignment.frame_horizon_ns
        if next_t0_ns is None or stamp_ns < next_t0_ns - horizon:
            buffer.skip(stamp_ns)
            return _SKIPPED
        started = time.perf_counter()
        rgb = decode_image(message)
        patches = self.prepare(rgb)
        took = (time.perf_counter() - started) * 1e3
        self.decode_ms += (0.1 if self.decode_ms else 1.0) * (took - self.decode_ms)
        frame = CameraFrame(buffer.camera.camera_id, stamp_ns, patches)
        if self._is_at_an_instant(stamp_ns):
            frame = replace(frame, preview=small_copy(rgb, PREVIEW_WIDTH))
        return buffer.add(frame)

    def _is_at_an_instant(self, stamp_ns: int) -> bool:
        index = bisect_left(self.instants, stamp_ns - self._tolerance_ns)
        return index < len(self.instants) and (
            self.instants[index] <= stamp_ns + self._tolerance_ns)


_SKIPPED = 'skipped'


def deserialize(store: object, data: bytes, msgtype: str) -> object:
    """Return the message in CDR bytes; ``BagError`` when they are none of that type."""
    try:
        return store.deserialize_cdr(data, msgtype)
    except Exception as error:  # whatever the generated code trips over
        raise BagError(f'{len(data)} bytes are no {msgtype}: {type(error).__name__}: {error}'
                       ) from error
