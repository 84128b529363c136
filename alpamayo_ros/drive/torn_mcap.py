"""What is left of mcap files whose end is missing: read chunk by chunk, without an index."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from mcap.records import Channel, Chunk, DataEnd, Header, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.metadata import parse_qos


@dataclass(frozen=True)
class _Piece:
    """A chunk, or a message outside of one: times of its first and last message, ns; what holds
    none begins after everything."""

    first_ns: int = 2 ** 63 - 1
    last_ns: int = 0


_Key = tuple[str, str]
"""Topic and type."""


@dataclass
class _File:
    path: Path
    pieces: list[_Piece] = field(default_factory=list)
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, _Key] = field(default_factory=dict)

    @property
    def first_ns(self) -> int:
        return min((piece.first_ns for piece in self.pieces), default=_Piece.first_ns)


class TornMcap:
    """The whole chunks of the mcap files of one bag, up to the first damage of each.

    Offers what ``Bag`` uses of the reader of rosbags. ``problems``: what is wrong with which file.
    Everything is read once to learn what there is.
    """

    is_open = True
    storage = None

    def __init__(self, files: Sequence[Path]) -> None:
        """Read ``files``, at least one; where one cannot be read at all, that is a problem too."""
        self.problems: list[str] = []
        self.message_count = 0
        self._connections: dict[_Key, Connection] = {}
        self._counts: dict[_Key, int] = {}
        self._files = sorted((self._scan(file) for file in files), key=lambda item: item.first_ns)
        self.start_time = min(item.first_ns for item in self._files)
        self.end_time = 1 + max((piece.last_ns for item in self._files for piece in item.pieces),
                                default=0)
        self.connections = [connection._replace(msgcount=self._counts[key])
                            for key, connection in self._connections.items()]

    def messages(self, connections: Collection[Connection], start: int | None = None,
                 stop: int | None = None) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield the messages of ``connections`` with ``start`` <= recording time < ``stop``, ns, in
        its order (that of each file where files overlap)."""
        wanted = {(item.topic, item.msgtype): item for item in connections}
        for file in self._files:
            yield from self._of_file(file, wanted, start or 0, stop)

    def close(self) -> None:
        """Close nothing: files are open only while they are read."""

    def _of_file(self, file: _File, wanted: dict[_Key, Connection], start: int, stop: int | None
                 ) -> Iterator[tuple[Connection, int, bytes]]:
        # Chunks may overlap in time: what comes before all that is still to be read is handed out.
        to_come = [*accumulate((piece.first_ns for piece in reversed(file.pieces)), min)][::-1]
        waiting: list[tuple[int, int, Connection, bytes]] = []
        number = 0
        with file.path.open('rb') as stream:
            records = _records(stream)
            for piece, limit in zip(file.pieces, [*to_come[1:], _Piece.first_ns], strict=True):
                record = next(records)
                if piece.last_ns >= start and (stop is None or piece.first_ns < stop):
                    for message in _messages(record):
                        time = message.log_time
                        key = file.channels[message.channel_id]
                        if key in wanted and start <= time and (stop is None or time < stop):
                            heapq.heappush(waiting, (time, number, wanted[key], message.data))
                            number += 1
                while waiting and waiting[0][0] < limit:
                    time, _, connection, data = heapq.heappop(waiting)
                    yield connection, time, data

    def _scan(self, path: Path) -> _File:
        file = _File(path)
        try:
            with path.open('rb') as stream:
                for record in _records(stream):
                    times = []
                    for message in _messages(record, partial(self._meet, file)):
                        times.append(message.log_time)
                        self._counts[file.channels[message.channel_id]] += 1
                        self.message_count += 1
                    file.pieces.append(_Piece(min(times), max(times)) if times else _Piece())
        # Whatever the parser trips over is the damage; what came before it is whole.
        except Exception as error:
            reason = str(error).strip().rstrip('.') or 'it ends in the middle of a record'
            self.problems.append(f'{path.name}: {reason} ({type(error).__name__})')
        return file

    def _meet(self, file: _File, record: Schema | Channel) -> None:
        if isinstance(record, Schema):
            file.schemas[record.id] = record
            return
        schema = file.schemas.get(record.schema_id)
        key = record.topic, schema.name if schema else ''
        file.channels[record.id] = key
        if key in self._connections:
            return
        form = (MessageDefinitionFormat.NONE if schema is None else
                MessageDefinitionFormat.MSG if schema.encoding == 'ros2msg' else
                MessageDefinitionFormat.IDL)
        self._counts[key] = 0
        self._connections[key] = Connection(
            len(self._connections) + 1, *key,
            MessageDefinition(form, schema.data.decode() if schema else ''), '', 0,
            ConnectionExtRosbag2(record.message_encoding,
                                 parse_qos(record.metadata.get('offered_qos_profiles', ''))),
            self)


def _records(stream: BinaryIO) -> Iterator[McapRecord]:
    """Yield what an open file is made of up to the end of its data; chunks as they are.

    Raises what the parser raises where the file is damaged.
    """
    for record in StreamReader(stream, emit_chunks=True).records:
        if isinstance(record, Header) and record.profile not in ('ros2', ''):
            raise ReaderError(f"its profile is '{record.profile}'; expected 'ros2'")
        if isinstance(record, DataEnd):
            return
        yield record


def _messages(record: McapRecord, meet: Callable[[Schema | Channel], None] = lambda record: None
              ) -> Iterator[Message]:
    """Yield the messages that a record is or holds; ``meet`` is told of schemas and channels."""
    inner = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
    for item in inner:
        if isinstance(item, Message):
            yield item
        elif isinstance(item, Schema | Channel):
            meet(item)
