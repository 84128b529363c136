"""The outputs of a run as a rosbag2 that plays beside the original."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.replay.folder import RunError
from alpamayo_ros.replay.record import PLANNED, Record, plan_of
from alpamayo_ros.ros.conversions import paths, place
from alpamayo_ros.ros.markers import lifetime_s, markers
from alpamayo_ros.ros.messages import BAG
from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.ros.plan_info import ModelIdentity, plan_info
from alpamayo_ros.ros.topics import NODE_NAME, OUTPUTS, output_topic, resolve

_FOREVER = QosTime(9223372036, 854775807)


class OutputBag:
    """Writes what the node would publish for each record, at the time its window was full.

    ``path``: of the new bag, one that is there is replaced; ``mcap``: as the input is.
    """

    def __init__(self, path: Path, settings: NodeSettings, identity: ModelIdentity,
                 remap: Mapping[str, str], *, mcap: bool) -> None:
        self._settings, self._identity = settings, identity
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._previous_t0_ns: int | None = None
        plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
        try:
            if path.exists():
                shutil.rmtree(path)
            self._writer = Writer(path, version=Writer.VERSION_LATEST, storage_plugin=plugin)
            self._writer.open()
            names = {name: resolve(output_topic(name)) for name in OUTPUTS}
            self._topics = {
                name: self._writer.add_connection(
                    remap.get(names[name], names[name]), kind, typestore=self._store,
                    offered_qos_profiles=[_profile(self._depth(name))])
                for name, kind in OUTPUTS.items()}
        except (OSError, WriterError) as error:
            raise RunError(f"'{path}' cannot be written: {error}") from error

    def write(self, record: Record) -> None:
        """Write the messages of a record; nothing unless it was planned."""
        if record.status != PLANNED:
            return
        settings, line = self._settings, record.line
        plan, pose = plan_of(record)
        in_odometry = settings.output_frame == 'odometry'
        placed = place(plan, pose if in_odometry else None,
                       settings.odometry_frame if in_odometry else settings.base_frame)
        stamp = line['published_ns']
        for rank, path in enumerate(paths(placed, BAG)):
            if rank == 0:
                self._write('path', stamp, path)
            self._write('candidate_paths', stamp, path)
        text = plan.reasoning[plan.candidates[0].reasoning].cot
        self._write('reasoning', stamp, BAG.String(data=text))
        self._write('markers', stamp, markers(
            plan, placed, settings.footprint, text,
            lifetime_s(settings, plan.t0_ns, self._previous_t0_ns), settings.base_frame, BAG))
        self._previous_t0_ns = plan.t0_ns
        self._write('plan_info', stamp, plan_info(
            plan, self._identity, name=f'{NODE_NAME}: plan_info', sequence=line['sequence'],
            ages_s={'input_age': line['input_age_ms'] / 1e3,
                    'plan_age': (line['input_age_ms'] + line['timings_ms']['total']) / 1e3},
            timings_ms=line['timings_ms'], messages=BAG))

    def close(self) -> None:
        """Finish the bag; it can be played afterwards."""
        self._writer.close()

    def _depth(self, name: str) -> int:
        return 2 * self._settings.planner.num_candidates if name == 'candidate_paths' else 1

    def _write(self, name: str, stamp_ns: int, message: object) -> None:
        try:
            self._writer.write(self._topics[name], stamp_ns,
                               self._store.serialize_cdr(message, OUTPUTS[name]))
        except (OSError, WriterError) as error:
            raise RunError(f"'{self._writer.path}' cannot be written: {error}") from error


def _profile(depth: int) -> Qos:
    return Qos(QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, QosDurability.VOLATILE,
               _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)
