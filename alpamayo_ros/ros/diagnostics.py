"""/diagnostics at 1 Hz on a steady clock, from a thread of its own.

So it goes on while simulation time is paused, while a model is loading in the executor's thread,
and while the planning thread is busy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

PERIOD_S = 1.0


class DiagnosticsThread:
    """Publishes ``statuses()`` every second from ``start`` to ``close``."""

    def __init__(self, node: Node, statuses: Callable[[], list[DiagnosticStatus]]) -> None:
        self._node, self._statuses = node, statuses
        self._publisher = node.create_publisher(
            DiagnosticArray, '/diagnostics',
            QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='diagnostics', daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Publish once more, so that the end is seen, and stop."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _publish(self) -> None:
        message = DiagnosticArray(status=self._statuses())
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            self._publish()
            due = max(due + PERIOD_S, time.monotonic())
        self._publish()
