"""How much of a plan's time the node takes for itself, and whether every frame arrives.

The real node runs in a process of its own; six cameras and odometry are sent to it over DDS in real
time. For every plan the clock runs from the moment all its input was sent (or, where the planner
was still busy, from the end of the plan before) to the arrival of its last message; the model's
stages are taken off, and what is left is the node's own share.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from alpamayo_ros.drive.camera_load import CameraLoad, Sent
from alpamayo_ros.drive.node_process import NODE_NAME, NodeError, NodeProcess

NODE_STAGES = ('align', 'place', 'paths', 'markers')
"""Stages in plan_info that are the node's and not the model's; ``input.*`` are as well."""
_SETTLE_S = 1.0
_COUNTS = ('received', 'stored', 'skipped', 'dropped', 'refused')


@dataclass(frozen=True)
class ShareOptions:
    """``parameters`` of the node, the checkpoint among them; ``seconds`` of load; ``cores``: how
    many the node may use; ``start_timeout_s``: for loading the checkpoint."""

    parameters: Mapping[str, object]
    cameras: Sequence[str]
    jpegs: Sequence[bytes]
    seconds: float = 10.0
    cores: int = 2
    speed: float = 8.0
    start_timeout_s: float = 120.0


@dataclass(frozen=True)
class PlanShare:
    """Milliseconds of one plan: ``whole`` from its last input to its last message, ``model`` of
    that in the model, ``parts``: the node's stages by its own account. ``waited``: the planner was
    busy with the plan before when the input was complete."""

    whole: float
    model: float
    parts: dict[str, float]
    waited: bool

    @property
    def share(self) -> float:
        """The node's own milliseconds."""
        return self.whole - self.model


@dataclass(frozen=True)
class NodeShare:
    """``sent`` and, by the node's count, ``counts`` of frames by camera; ``plans``; ``late_s``:
    how far the load was behind time at worst; ``cores`` the node had, and ``busy_cores``: how many
    it used on average while under load."""

    sent: dict[str, int]
    counts: dict[str, dict[str, int]]
    plans: list[PlanShare]
    late_s: float
    cores: int
    busy_cores: float

    @property
    def lost(self) -> int:
        """Frames that were sent and did not arrive, all cameras together."""
        return sum(count - self.counts[camera]['received'] for camera, count in self.sent.items())

    @property
    def unused(self) -> int:
        """Frames that arrived and were not stored, all cameras together."""
        return sum(count['received'] - count['stored'] for count in self.counts.values())


@dataclass
class _Seen:
    """What came from the node, with the time it came."""

    infos: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    diagnostics: list[tuple[float, DiagnosticArray]] = field(default_factory=list)


def measure_node_share(options: ShareOptions) -> NodeShare:
    """Run the node under load; ``NodeError`` with its last words when it does not work."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with _first_cores(options.cores) as cores:
            process = stack.enter_context(
                NodeProcess(options.parameters, folder / 'node.log'))
        node = stack.enter_context(_spinning_node())
        try:
            return _measure(options, process, node, cores)
        except NodeError as error:
            process.stop()
            raise NodeError(f'{error}; the last lines of its log:\n{process.log_tail()}'
                            ) from error


def _measure(options: ShareOptions, process: NodeProcess, node: Node, cores: int) -> NodeShare:
    seen, stop = _Seen(), threading.Event()
    _listen(node, seen)
    load = CameraLoad(node, options.cameras, options.jpegs, options.speed)
    process.wait_until_active(node, options.start_timeout_s, stop)
    process.watch(stop)
    missing = load.wait_for_readers(10.0, stop)
    if missing:
        raise NodeError(f'the node does not listen to {", ".join(missing)}')
    stop.wait(_SETTLE_S)  # the readers have to know the writers, too
    began, used = time.monotonic(), process.cpu_seconds()
    load.run(options.seconds, stop)
    ended = time.monotonic()
    busy_cores = (process.cpu_seconds() - used) / (ended - began)
    counts = _final_counts(seen, options.cameras, ended + _SETTLE_S, stop)
    if process.returncode is not None:
        raise NodeError(f'the node ended by itself with exit code {process.returncode}')
    plans = plan_shares(seen.infos, load.sent)
    if not plans:
        raise NodeError(f'{len(seen.infos)} plans came, expected two at least; the node used '
                        f'{busy_cores:.2f} of {cores} cores; frames: {counts}')
    return NodeShare({camera: len(load.sent[camera].stamps_ns) for camera in options.cameras},
                     counts, plans, load.late_s, cores, busy_cores)


def _listen(node: Node, seen: _Seen) -> None:
    def info(message: DiagnosticStatus) -> None:
        seen.infos.append((time.time_ns(), {item.key: item.value for item in message.values}))

    def diagnostics(message: DiagnosticArray) -> None:
        seen.diagnostics.append((time.monotonic(), message))

    reliable = QoSProfile(depth=256, reliability=ReliabilityPolicy.RELIABLE)
    node.create_subscription(DiagnosticStatus, f'{NODE_NAME}/output/plan_info', info, reliable)
    node.create_subscription(DiagnosticArray, '/diagnostics', diagnostics, reliable)


def _final_counts(seen: _Seen, cameras: Sequence[str], not_before: float, stop: threading.Event
                  ) -> dict[str, dict[str, int]]:
    """The counters of every camera from the first diagnostics sent after ``not_before``."""
    deadline = not_before + 10.0
    while not stop.is_set():
        if seen.diagnostics and seen.diagnostics[-1][0] > not_before:
            break
        if time.monotonic() > deadline:
            raise NodeError('no diagnostics came for 10 s')
        stop.wait(0.05)
    statuses = {status.name.rpartition(': ')[2]: status
                for status in (seen.diagnostics[-1][1].status if seen.diagnostics else [])}
    result = {}
    for camera in cameras:
        if camera not in statuses:
            raise NodeError(f'diagnostics have no status of {camera}')
        values = {item.key: item.value for item in statuses[camera].values}
        result[camera] = {key: int(values[key]) for key in _COUNTS}
    return result


def plan_shares(infos: Sequence[tuple[int, Mapping[str, str]]], sent: Mapping[str, Sent]
                ) -> list[PlanShare]:
    """The shares of plans from their plan_info, each with the time it came in nanoseconds.

    A plan about t0 has its input when every stream has sent something stamped t0 or later. The
    first plan has no plan before it and does not count.
    """
    shares = []
    for (free_ns, _), (came_ns, info) in zip(infos, infos[1:], strict=False):
        seconds, _, nanoseconds = info['t0'].partition('.')
        t0_ns = int(seconds) * 1_000_000_000 + int(nanoseconds)
        complete_ns = max(
            stream.sent_ns[bisect_left(stream.stamps_ns, t0_ns)] for stream in sent.values())
        stages = {key.removeprefix('ms.'): float(value) for key, value in info.items()
                  if key.startswith('ms.') and key != 'ms.total'}
        own = {name: ms for name, ms in stages.items()
               if name in NODE_STAGES or name.startswith('input.')}
        model = sum(ms for name, ms in stages.items() if name not in own)
        shares.append(PlanShare((came_ns - max(complete_ns, free_ns)) / 1e6, model, own,
                                free_ns > complete_ns))
    return shares


@contextmanager
def _first_cores(count: int) -> Iterator[int]:
    """Within: this process, and those it starts, keep to that many cores. Gives their number."""
    allowed = os.sched_getaffinity(0)
    chosen = set(sorted(allowed)[:count])
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def _spinning_node() -> Iterator[Node]:
    """A node whose callbacks run in a thread of their own."""
    rclpy.init(args=[], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node('alpamayo_bench')
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=_spin(executor), name='bench callbacks', daemon=True)
        thread.start()
        try:
            yield node
        finally:
            executor.shutdown()
            thread.join()
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def _spin(executor: SingleThreadedExecutor) -> Callable[[], None]:
    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
    return spin
