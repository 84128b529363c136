"""A recorded drive through the planner: from the options of a replay to a finished run folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.alignment import ODOMETRY
from alpamayo_ros.calibration import load_rig
from alpamayo_ros.drive.bag import Bag, BagError
from alpamayo_ros.metrics.summary import summarise
from alpamayo_ros.replay.calibration import bag_calibration, usable, with_rig
from alpamayo_ros.replay.feed import Feed, deserialize
from alpamayo_ros.replay.folder import COMPLETE, INTERRUPTED, RunFolder
from alpamayo_ros.replay.future import Future
from alpamayo_ros.replay.output import OutputBag
from alpamayo_ros.replay.planning import InstantPlanner
from alpamayo_ros.replay.record import Record, refusal_record
from alpamayo_ros.replay.schedule import Schedule
from alpamayo_ros.replay.sources import ODOMETRY_TYPE, Sources, find_sources
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.loading import load_model
from alpamayo_ros.ros.node_settings import NodeSettings, node_settings
from alpamayo_ros.ros.plan_info import ModelIdentity
from alpamayo_ros.ros.topics import NAVIGATION

if TYPE_CHECKING:
    from alpamayo_ros.planner import Planner

# How long before it is needed a message may have been recorded, and how far the stamps may be from
# the clock of the recording before they count as those of another clock.
_LEAD_NS = 5_000_000_000
_OTHER_CLOCK_NS = 10_000_000_000


@dataclass(frozen=True)
class ReplayOptions:
    """``bag`` and ``out``: paths; ``parameters``: every one of the node by name; ``remap``: topics
    of the node by the names they have in the bag; ``rig``: a rig file for cameras whose place the
    bag does not tell; ``overwrite``: whatever run ``out`` holds.
    """

    bag: Path
    out: Path
    parameters: Mapping[str, Any]
    schedule: Schedule = field(default_factory=Schedule)
    remap: Mapping[str, str] = field(default_factory=dict)
    rig: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class ReplayResult:
    """``status``: of the run; ``problem``: what ended it early, empty when nothing did;
    ``summary``: as ``metrics.summary.summarise`` gives it; ``folder``: where everything is.
    """

    status: str
    problem: str
    summary: dict[str, Any]
    folder: Path


Progress = Callable[[int, int], None]
"""Called with the instants that are done, and how many there are."""


def replay(options: ReplayOptions, *, stop: threading.Event, say: Callable[[str], None],
           progress: Progress = lambda done, total: None) -> ReplayResult:
    """Replay a bag into a run folder, or go on with the run that is there.

    Set ``stop`` to end at the next opportunity. What was done is kept in every case: a bag that
    turns out to be damaged ends the run with a ``problem``. Raises ``AlpamayoError`` for a bag,
    topics, parameters, a checkpoint or a folder that nothing can be begun with.
    """
    settings = node_settings(options.parameters)
    sources = find_sources(settings, options.remap)
    with ExitStack() as stack:
        bag = stack.enter_context(Bag(options.bag))
        if bag.damage:
            say(bag.damage)
        sources.check(bag)
        calibration, complaint = usable(bag_calibration(bag, sources, settings.base_frame))
        if complaint:
            say(f'calibration that is not used: {complaint}')
        if options.rig:
            calibration = with_rig(calibration, load_rig(options.rig))
        behind_ns = clock_difference(bag, sources)
        instants = options.schedule.instants(bag.start_ns - behind_ns, bag.end_ns - behind_ns)
        planner, identity = load_model(settings, stop.is_set, say)
        stack.callback(planner.close)
        folder = RunFolder.open(
            options.out, _description(options, bag, settings, identity, planner, calibration),
            _decisive(options, bag, identity), overwrite=options.overwrite)
        if folder.lines:
            say(f'going on after {len(folder.lines)} of {len(instants)} instants')
        output = OutputBag(options.out / 'output', settings, identity, options.remap,
                           mcap=_is_mcap(bag.path))
        stack.callback(output.close)
        done = {line['t0_ns'] for line in folder.lines}
        pending = [t0 for t0 in instants if t0 not in done]
        feed = Feed(settings, sources, planner.preprocessor, pending)
        start_ns = _reading_from(pending, behind_ns, settings)
        ahead = stack.enter_context(Bag(options.bag))
        instant_planner = InstantPlanner(
            planner, feed, Future(ahead, sources, settings, _length_ns(planner), start_ns),
            behind_ns, stop)
        for record in folder.records():
            instant_planner.follow(record)
            output.write(record)
        progress(len(folder.lines), len(instants))
        problem = ''
        try:
            for record in _through(bag, feed, pending, start_ns, instant_planner, stop):
                folder.add(record)
                output.write(record)
                progress(len(folder.lines), len(instants))
        except BagError as error:
            problem = str(error)
        if not problem and options.schedule.goes_beyond(bag.start_ns, bag.end_ns):
            problem = bag.damage
        whole = not problem and (not stop.is_set() or len(folder.lines) == len(instants))
        status = COMPLETE if whole else INTERRUPTED
        summary = summarise(folder.lines)
        folder.finish(status, problem=problem or None, counts={
            **summary['counts'], 'scheduled': len(instants),
            'streams': {name: asdict(count) for name, count in feed.counts.items()}})
    return ReplayResult(status, problem, summary, options.out)


def _through(bag: Bag, feed: Feed, pending: list[int], start_ns: int,
             planner: InstantPlanner, stop: threading.Event) -> Iterator[Record]:
    """Read the bag once and yield the record of each pending instant, until asked to stop."""
    topics = set(feed.sources.topics.values())
    navigation = feed.sources.topics[NAVIGATION]
    if navigation in bag.topics:
        for message in bag.messages([navigation], stop_ns=start_ns):
            feed.take(message, None)
    position, recorded_ns = 0, start_ns
    for message in bag.messages(topics, start_ns=start_ns) if pending else ():
        recorded_ns = message.stamp_ns
        feed.take(message, pending[position])
        while feed.is_due(pending[position]):
            record = planner.answer(pending[position], recorded_ns)
            if record is not None:
                yield record
                position += 1
            if stop.is_set() or position == len(pending):
                return
            if record is None:
                break
        if stop.is_set():
            return
    # The bag is at its end. Where it just ends nothing is wrong; a stream that ended before is.
    for t0_ns in pending[position:]:
        missing = feed.fallen_behind(t0_ns)
        if missing is not None:
            yield refusal_record(t0_ns, *missing)


def clock_difference(bag: Bag, sources: Sources) -> int:
    """How far the stamps are behind the clock of the recording, ns; 0 when it is one clock."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for message in bag.messages([sources.topics[ODOMETRY]]):
        header = deserialize(store, message.data, ODOMETRY_TYPE).header
        behind = message.stamp_ns - stamp_to_ns(header.stamp)
        return behind if abs(behind) > _OTHER_CLOCK_NS else 0
    return 0


def _reading_from(pending: list[int], behind_ns: int, settings: NodeSettings) -> int:
    """The recording time from which on messages matter."""
    first = pending[0] if pending else 0
    return max(0, first + behind_ns - settings.alignment.odometry_horizon_ns - _LEAD_NS)


def _length_ns(planner: Planner) -> int:
    return round(planner.dt_s * planner.num_waypoints * 1e9)


def _is_mcap(path: Path) -> bool:
    files = path.iterdir() if path.is_dir() else [path]
    return any('.mcap' in file.suffixes for file in files)


def _description(options: ReplayOptions, bag: Bag, settings: NodeSettings,
                 identity: ModelIdentity, planner: Planner,
                 calibration: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says besides status and counts."""
    from alpamayo_ros.bench.machine import describe

    machine = describe(planner.runtime.device)
    return {
        'created': machine['date'], 'bag': str(options.bag),
        'bag_start_ns': bag.start_ns, 'bag_end_ns': bag.end_ns,
        'parameters': {name: list(value) if isinstance(value, tuple) else value
                       for name, value in options.parameters.items()},
        'checkpoint': {'path': identity.checkpoint, 'model_type': identity.model_type,
                       'fingerprint': identity.checkpoint_fingerprint},
        'expert': {'backend': identity.backend, 'fingerprint': identity.expert_fingerprint},
        'seed': settings.planner.seed, 'reasoning_mode': settings.planner.reasoning_mode,
        'num_candidates': settings.planner.num_candidates, 'dt_s': planner.dt_s,
        'cameras': [camera.name for camera in settings.cameras],
        'versions': machine['versions'], 'hardware': machine['machine'],
        'schedule': options.schedule.as_json(), 'remap': dict(options.remap),
        'calibration': dict(calibration)}


def _decisive(options: ReplayOptions, bag: Bag, identity: ModelIdentity) -> dict[str, Any]:
    """All that decides what the plans are, whatever the places of the files are called."""
    return {
        'bag': {'start_ns': bag.start_ns, 'end_ns': bag.end_ns,
                'messages': sum(topic.count for topic in bag.topics.values())},
        'parameter': {name: list(value) if isinstance(value, tuple) else value
                      for name, value in options.parameters.items()
                      if name not in ('autostart', 'checkpoint', 'expert.engine_dir')},
        'checkpoint': identity.checkpoint_fingerprint, 'expert': identity.expert_fingerprint,
        'schedule': options.schedule.as_json(), 'remap': dict(options.remap)}
