"""From arriving images to the buffers: a few threads decode and prepare, callbacks only hand over.

At most ``WAITING_PER_CAMERA`` images of a camera wait; a newer one pushes the oldest out, and that
is counted. Images of one camera are taken one after the other, so they reach the buffer in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from sensor_msgs.msg import CompressedImage, Image

from alpamayo_ros.buffers import DROPPED, FrameBuffer
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.images import small_copy
from alpamayo_ros.overlay import MAX_WIDTH
from alpamayo_ros.ros.conversions import decode_image, stamp_to_ns
from alpamayo_ros.ros.health import StreamHealth
from alpamayo_ros.types import CameraFrame, ImagePatches

WAITING_PER_CAMERA = 2


@dataclass(frozen=True)
class _Waiting:
    camera: str
    message: CompressedImage | Image
    since: float


class Intake:
    """Fills ``buffers`` (by camera name) with prepared frames.

    ``prepare``: RGB uint8 (H, W, 3) to patches. ``on_stored`` is called, without arguments, after a
    buffer changed. ``previews``: cameras whose frames keep a picture for people. Call ``close`` to
    end the threads.
    """

    def __init__(self, buffers: Mapping[str, FrameBuffer], health: Mapping[str, StreamHealth],
                 prepare: Callable[..., ImagePatches], on_stored: Callable[[], None],
                 threads: int, previews: Container[str] = ()) -> None:
        self._buffers, self._health = buffers, health
        self._prepare, self._on_stored, self._previews = prepare, on_stored, previews
        self._condition = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._busy: set[str] = set()
        self._epoch = 0
        self._closed = False
        self._milliseconds = {'queue': 0.0, 'prepare': 0.0}
        self._threads = [threading.Thread(target=self._run, name=f'decode-{index}', daemon=True)
                         for index in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def timings_ms(self) -> dict[str, float]:
        """Recent milliseconds an image waited (``queue``) and took to decode and prepare."""
        with self._condition:
            return dict(self._milliseconds)

    def put(self, camera: str, message: CompressedImage | Image) -> None:
        """Hand over an image; returns at once."""
        with self._condition:
            waiting = [item for item in self._queue if item.camera == camera]
            full = len(waiting) >= WAITING_PER_CAMERA
            if full:
                self._queue.remove(waiting[0])
            self._queue.append(_Waiting(camera, message, time.monotonic()))
            self._condition.notify()
        if full:
            self._health[camera].dropped()

    def clear(self) -> None:
        """Forget every frame: the waiting, those in the threads' hands, and the buffered."""
        with self._condition:
            self._epoch += 1
            self._queue.clear()
            for buffer in self._buffers.values():
                buffer.clear()

    def close(self) -> None:
        """End the threads; each finishes the image in hand."""
        with self._condition:
            self._closed = True
            self._queue.clear()
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _take(self) -> tuple[_Waiting, int] | None:
        with self._condition:
            while not self._closed:
                for item in self._queue:
                    if item.camera not in self._busy:
                        self._queue.remove(item)
                        self._busy.add(item.camera)
                        return item, self._epoch
                self._condition.wait()
            return None

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            item, epoch = taken
            try:
                self._handle(item, epoch)
            except AlpamayoError as error:
                self._health[item.camera].refused(str(error))
            except Exception as error:  # a decoder must never end the thread
                self._health[item.camera].refused(f'{type(error).__name__}: {error}')
            finally:
                with self._condition:
                    self._busy.discard(item.camera)
                    self._condition.notify()

    def _handle(self, item: _Waiting, epoch: int) -> None:
        started = time.monotonic()
        buffer, health = self._buffers[item.camera], self._health[item.camera]
        stamp_ns = stamp_to_ns(item.message.header.stamp)
        if not buffer.wants(stamp_ns):
            health.skipped()
            self._on_stored()
            return
        image = decode_image(item.message)
        preview = small_copy(image, MAX_WIDTH) if item.camera in self._previews else None
        frame = CameraFrame(buffer.camera.camera_id, stamp_ns, self._prepare(image), preview)
        finished = time.monotonic()
        with self._condition:
            if epoch != self._epoch:
                return
            note = buffer.add(frame)
            for name, value in (('queue', started - item.since), ('prepare', finished - started)):
                self._milliseconds[name] += 0.1 * (value * 1e3 - self._milliseconds[name])
        if note and note.startswith(DROPPED):
            health.refused(note)
            return
        health.stored()
        if note:
            health.noted(note)
        self._on_stored()
