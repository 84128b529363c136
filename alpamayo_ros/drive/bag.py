"""Reading a rosbag2 directory or file (sqlite3 or mcap), with errors a person can act on."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from rosbags.interfaces import Connection, Qos, QosDurability
from rosbags.rosbag2 import Reader

from alpamayo_ros.drive.torn_mcap import TornMcap
from alpamayo_ros.errors import AlpamayoError

_STORAGE = ('.db3', '.mcap')
_COMPRESSED = ('.zstd', '.zst')
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class BagError(AlpamayoError):
    """A recorded drive that is missing, damaged or cannot be written."""


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag: its type such as ``nav_msgs/msg/Odometry``, how many messages, and
    whether it was recorded from transient-local publishers, of what depth (0: not known).
    """

    name: str
    msgtype: str
    count: int
    latched: bool
    depth: int


@dataclass(frozen=True)
class BagMessage:
    """A recorded message: recording time in ns, and its CDR bytes as they were on the wire."""

    topic: str
    stamp_ns: int
    data: bytes


class Bag:
    """An open rosbag2 directory or one of its files; a context manager.

    ``topics``: by name, those that hold messages or a declaration. ``start_ns`` and ``end_ns``:
    recording times of the first and last message. ``damage``: what is wrong with the files of a bag
    of which only the beginning can be read, else empty.
    """

    damage = ''

    def __init__(self, path: str | Path) -> None:
        """Open the bag at ``path``: a directory (or its metadata.yaml), a .db3 or .mcap file.

        A compressed file is opened through the directory it lies in. Of mcap files whose end is
        missing, as a recorder leaves them that was killed, what is whole is read. ``BagError``.
        """
        self.path = Path(path)
        if self.path.name == 'metadata.yaml':
            self.path = self.path.parent
        if not self.path.exists():
            raise BagError(f"bag '{self.path}' does not exist; expected a rosbag2 directory")
        if self.path.suffix in _COMPRESSED:
            self.path = _directory_of(self.path)
        is_file = self.path.is_file() and self.path.suffix in _STORAGE
        mcap = sorted(self.path.glob('*.mcap')) if self.path.is_dir() else []
        if not is_file and not mcap and not (self.path / 'metadata.yaml').is_file():
            raise BagError(f"'{self.path}' is not a rosbag2 directory: it has no metadata.yaml "
                           "('ros2 bag reindex' can make one)")
        # A damaged file surfaces as whatever the storage library trips over.
        try:
            self._reader = Reader(self.path)
            self._reader.open()
            for storage in getattr(self._reader.storage, 'storages', []):
                self._check_complete(storage)
        except BagError:
            raise
        except Exception as error:
            if self.path.suffix == '.mcap':
                mcap = [self.path]
            self._reader = self._what_is_left(mcap, error)
        if not self._reader.message_count:
            self.close()
            raise BagError(f"bag '{self.path}' holds no messages")
        self.start_ns = self._reader.start_time
        self.end_ns = self._reader.end_time - 1
        self.topics: dict[str, BagTopic] = {}
        for connection in self._reader.connections:
            known = self.topics.get(connection.topic)
            if known is None or known.msgtype == connection.msgtype:
                self.topics[connection.topic] = _topic(connection, known)

    def _what_is_left(self, files: list[Path], error: Exception) -> TornMcap:
        trouble = f"bag '{self.path}' cannot be read: {_reason(error)}"
        if not files:
            raise BagError(trouble) from error
        rest = TornMcap(files)
        damage = '; '.join(rest.problems)
        if not rest.message_count:
            raise BagError(f'{trouble}; no message could be saved ({damage})') from error
        if rest.problems:
            seconds = (rest.end_time - rest.start_time) / 1e9
            self.damage = (f"bag '{self.path}' is damaged: {damage}; {rest.message_count} messages "
                           f'of {seconds:.1f} s before that can be read')
        return rest

    def _check_complete(self, storage: object) -> None:
        recorded = {(c.topic, c.msgtype) for c in self._reader.connections}
        declared = {(c.topic, c.msgtype) for c in getattr(storage, 'connections', ())}
        if not declared <= recorded:
            names = ', '.join(sorted(topic for topic, _ in declared - recorded))
            raise BagError(f"bag '{self.path}': its metadata.yaml does not name topic {names}; "
                           "'ros2 bag reindex' can mend it")

    def messages(self, topics: Collection[str] | None = None, *, start_ns: int | None = None,
                 stop_ns: int | None = None) -> Iterator[BagMessage]:
        """Yield the messages of ``topics`` (None: all) recorded at ``start_ns`` <= t < ``stop_ns``
        in recording order; ``BagError`` where the file is damaged.
        """
        chosen = [c for c in self._reader.connections
                  if (topics is None or c.topic in topics)
                  and c.msgtype == self.topics[c.topic].msgtype]
        if not chosen:
            return
        seen = 0
        try:
            for connection, stamp, data in self._reader.messages(chosen, start_ns, stop_ns):
                if not seen and bytes(data[:4]) == _ZSTD_MAGIC:
                    raise ValueError('its messages are compressed; expected the directory with '
                                     'the metadata.yaml that says so')
                seen += 1
                yield BagMessage(connection.topic, stamp, bytes(data))
        except GeneratorExit:
            raise
        except Exception as error:
            raise BagError(f"bag '{self.path}' is damaged after {seen} of its messages: "
                           f'{_reason(error)}') from error
        if self.damage and (stop_ns is None or stop_ns > self.end_ns):
            raise BagError(self.damage)
        whole = sum(c.msgcount for c in chosen)
        everything = ((start_ns is None or start_ns <= self.start_ns)
                      and (stop_ns is None or stop_ns > self.end_ns))
        if everything and seen != whole:
            raise BagError(f"bag '{self.path}' is damaged: {seen} messages were found where "
                           f'metadata.yaml promises {whole}')

    def close(self) -> None:
        """Close the files; a second time does nothing."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _directory_of(file: Path) -> Path:
    """The bag that a compressed file belongs to, if it is the only one in it."""
    others = [path for path in file.parent.iterdir()
              if path != file and path.suffix in (*_COMPRESSED, *_STORAGE)]
    if others or not (file.parent / 'metadata.yaml').is_file():
        raise BagError(f"'{file}' is a compressed file by itself; expected a rosbag2 directory, or "
                       "the file after 'zstd -d'")
    return file.parent


def _topic(connection: Connection, known: BagTopic | None) -> BagTopic:
    profiles: list[Qos] = connection.ext.offered_qos_profiles
    latched = bool(profiles) and all(
        profile.durability is QosDurability.TRANSIENT_LOCAL for profile in profiles)
    depth = max((profile.depth for profile in profiles), default=0)
    return BagTopic(
        connection.topic, connection.msgtype,
        connection.msgcount + (known.count if known else 0),
        latched and (known is None or known.latched), max(depth, known.depth if known else 0))


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip('.')
    return f'{text} ({type(error).__name__})' if text else type(error).__name__


def seconds_ns(seconds: float) -> int:
    """Return seconds as whole nanoseconds; ``ValueError`` when not finite."""
    if not math.isfinite(seconds):
        raise ValueError(f'{seconds} is not a time')
    return round(seconds * 1e9)
