"""The demo: the real node in a process of its own, a recorded drive, its plans shown."""

from __future__ import annotations

import os
import shutil
import statistics
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.drive.bag import Bag, BagError
from alpamayo_ros.drive.drive_data import DriveData
from alpamayo_ros.drive.environment import ends_on_signals
from alpamayo_ros.drive.node_process import NodeError, NodeProcess
from alpamayo_ros.drive.picture import PlanScene, draw_plan
from alpamayo_ros.drive.plans import (
    OUTPUT_PREFIX,
    PlanCollector,
    SeenPlan,
    describe_paths,
    describe_plan,
    describe_times,
    speed_mps,
)
from alpamayo_ros.drive.player import Player, PlayOptions
from alpamayo_ros.drive.record import RecordedTopic, Recorder
from alpamayo_ros.drive.topics import ODOMETRY_TOPIC
from alpamayo_ros.rig import NOMINAL_RIG

DIAGNOSTICS = '/diagnostics'
RECORDED = (
    RecordedTopic(f'{OUTPUT_PREFIX}/reasoning', 'std_msgs/msg/String'),
    RecordedTopic(f'{OUTPUT_PREFIX}/candidate_paths', 'nav_msgs/msg/Path', 256),
    RecordedTopic(f'{OUTPUT_PREFIX}/path', 'nav_msgs/msg/Path'),
    RecordedTopic(f'{OUTPUT_PREFIX}/markers', 'visualization_msgs/msg/MarkerArray'),
    RecordedTopic(f'{OUTPUT_PREFIX}/plan_info', 'diagnostic_msgs/msg/DiagnosticStatus'),
    RecordedTopic(DIAGNOSTICS, 'diagnostic_msgs/msg/DiagnosticArray'),
)
PICTURES = 6
"""How many plans are drawn at most."""
NOT_DRIVING = 'RANDOM WEIGHTS: this is not driving. The paths and the text mean nothing.'


@dataclass(frozen=True)
class DemoOptions:
    """``checkpoint`` and ``bag`` directories; ``out``: where recording, pictures and log go;
    ``rate``: times real time; ``parameters``: of the node, besides checkpoint and use_sim_time;
    ``random_weights``: say that this is not driving; ``start_timeout_s``: for loading.
    """

    checkpoint: Path
    bag: Path
    out: Path
    rate: float = 1.0
    parameters: Mapping[str, object] = field(default_factory=dict)
    random_weights: bool = False
    start_timeout_s: float = 180.0


class _Listener:
    """Takes what the node says: plans, told as they come, and the last complaint about plans."""

    def __init__(self, drive: DriveData, say: Callable[[str], None]) -> None:
        self._drive, self._say = drive, say
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._collector = PlanCollector(self._told)
        self.plans: list[SeenPlan] = []
        self.complaint = ''

    def take(self, topic: str, data: bytes, stamp_ns: int) -> None:
        if topic == DIAGNOSTICS:
            array = self._store.deserialize_cdr(data, 'diagnostic_msgs/msg/DiagnosticArray')
            for status in array.status:
                if status.level >= 2:
                    self.complaint = f'{status.name}: {status.message}'
        self._collector.take(topic, data, stamp_ns)

    def _told(self, plan: SeenPlan) -> None:
        self.plans.append(plan)
        into_s = (plan.t0_ns - self._drive.stamps_ns[0]) * 1e-9
        self._say(describe_plan(len(self.plans), plan, self.ego_paths(plan), into_s))

    def ego_paths(self, plan: SeenPlan) -> object:
        """Return the candidates (N, T, 3) in the ego frame at t0."""
        if plan.frame_id == 'base_link':
            return plan.candidates
        return self._drive.to_ego(plan.candidates, plan.t0_ns)


def run_demo(options: DemoOptions, say: Callable[[str], None]) -> int:
    """Run the demo, telling it through ``say``; return the exit code.

    0: plans came and the node ended cleanly; 1: not so, with the reason and the node's last words
    told; 130: interrupted. ``AlpamayoError`` for a bag or an output directory that is unusable.
    The node is ended in every case.
    """
    stop = threading.Event()
    log, recording, pictures = (
        options.out / name for name in ('node.log', 'recording', 'pictures'))
    with ExitStack() as stack:
        bag = stack.enter_context(Bag(options.bag))
        drive = DriveData(bag)
        _clear(options.out, log, recording, pictures)
        stack.enter_context(ends_on_signals(stop))
        process = stack.enter_context(NodeProcess(
            {**options.parameters, 'use_sim_time': True,
             'checkpoint': options.checkpoint.resolve()}, log))
        node = stack.enter_context(_spinning_node())
        listener = _Listener(drive, say)
        recorder = Recorder(node, recording, RECORDED, listener.take)
        stack.callback(recorder.close)
        try:
            _introduce(options, bag, say)
            process.wait_until_active(node, options.start_timeout_s, stop,
                                      lambda state: say(f'the node is {state}'))
            if not stop.is_set():
                _play(Player(node, bag, PlayOptions(rate=options.rate)), process, listener, stop,
                      say)
            if process.returncode is not None:
                raise NodeError(f'the node ended by itself with exit code {process.returncode}')
            interrupted = stop.is_set()
            exit_code = process.stop()
            if interrupted:
                say('interrupted')
                return 130
            if exit_code != 0:
                raise NodeError(f'the node ended with exit code {exit_code}; expected 0')
            if not listener.plans:
                raise NodeError('no plan arrived' + (
                    f'; the last complaint was "{listener.complaint}"'
                    if listener.complaint else ''))
        except NodeError as error:
            process.stop()
            say(f'\nFAILED: {error}\nthe last lines of {log}:\n{process.log_tail()}')
            return 1
        recorder.close()
        _draw(options, drive, listener, pictures)
        _conclude(options, listener, recorder, (recording, pictures, log), say)
    return 0


def _clear(out: Path, log: Path, *folders: Path) -> None:
    """Make the output directory and remove what an earlier demo left there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        for folder in folders:
            if folder.exists():
                shutil.rmtree(folder)
    except OSError as error:
        raise BagError(f"output directory '{out}' cannot be used: {error}") from error


class _spinning_node:
    """A node on simulation time, spun by a thread as long as the context lasts."""

    def __enter__(self) -> Node:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            'alpamayo_demo', enable_rosout=False, start_parameter_services=False,
            parameter_overrides=[Parameter('use_sim_time', value=True)])
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name='demo spin', daemon=True)
        self._thread.start()
        return self._node

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def __exit__(self, *unused: object) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)
        self._node.destroy_node()
        rclpy.try_shutdown()


def _introduce(options: DemoOptions, bag: Bag, say: Callable[[str], None]) -> None:
    say(f'drive       {options.bag}: {(bag.end_ns - bag.start_ns) / 1e9:.1f} s, six cameras')
    say(f'checkpoint  {options.checkpoint}')
    if options.random_weights:
        say('\n*** ' + NOT_DRIVING + ' ***\n'
            'This tiny checkpoint was never trained. The demo shows that six cameras and odometry\n'
            'go in and a reasoning and 32 paths come out, and nothing more.\n')
    say(f'starting the node (ROS domain {os.environ.get("ROS_DOMAIN_ID", "0")})')


def _play(player: Player, process: NodeProcess, listener: _Listener, stop: threading.Event,
          say: Callable[[str], None]) -> None:
    """Play the drive to the end, or until the node is gone, and wait for the last plan."""
    inputs = [topic for topic in player.topics
              if topic == ODOMETRY_TOPIC or '/image' in topic]
    for topic in player.wait_for_subscribers(10.0, stop, inputs):
        say(f'the node does not listen to {topic}')
    say('playing the drive')
    process.watch(stop)
    player.play(stop)
    # Plans of the last images may still be on their way; on a slow machine for a second or two.
    seen, deadline = -1, time.monotonic() + 15.0
    while seen != len(listener.plans) and time.monotonic() < deadline:
        seen = len(listener.plans)
        player.run_clock(2.0, stop)
        if stop.is_set():
            return


def _draw(options: DemoOptions, drive: DriveData, listener: _Listener, pictures: Path) -> None:
    """Draw some of the plans, evenly spread over the drive."""
    count = len(listener.plans)
    for number in sorted({round(index * (count - 1) / max(1, PICTURES - 1))
                          for index in range(PICTURES)}):
        _draw_one(options, drive, listener, number, pictures / f'plan_{number + 1:02d}.png')


def _draw_one(options: DemoOptions, drive: DriveData, listener: _Listener, number: int,
              picture: Path) -> None:
    plan = listener.plans[number]
    paths = listener.ego_paths(plan)
    into_s = (plan.t0_ns - drive.stamps_ns[0]) * 1e-9
    age_s = (plan.received_ns - plan.t0_ns) * 1e-9
    describing = describe_paths(paths, plan.plausible, plan.dt_s).split('; ')
    draw_plan(PlanScene(
        views=drive.views(NOMINAL_RIG, plan.t0_ns), candidates=list(paths),
        plausible=plan.plausible, history=drive.history(plan.t0_ns), reasoning=plan.reasoning,
        title=f'Plan {number + 1} of {len(listener.plans)}: t0 is {into_s:.2f} s into the drive, '
              f'speed {speed_mps(plan.info):.1f} m/s, ready {age_s * 1000:.0f} ms after t0',
        notes=[f'candidates: {describing[0]}; {describing[-1]}', *describing[1:-1],
               *textwrap.wrap(f'time: {describe_times(plan.timings_ms)}', 78)],
        banner=NOT_DRIVING if options.random_weights else ''), NOMINAL_RIG, picture)


def _conclude(options: DemoOptions, listener: _Listener, recorder: Recorder,
              results: tuple[Path, Path, Path], say: Callable[[str], None]) -> None:
    ages = [(plan.received_ns - plan.t0_ns) / 1e6 for plan in listener.plans]
    recording, pictures, log = results
    say(f'\n{len(listener.plans)} plans; from t0 to the last message of a plan '
        f'{statistics.median(ages):.0f} ms (median), {max(ages):.0f} ms (worst)')
    say(f'recording   {recording} (rosbag2, {sum(recorder.counts.values())} messages)\n'
        f'pictures    {pictures}\nnode log    {log}')
    if options.random_weights:
        say(NOT_DRIVING)
