"""The folder of a run: run.json, plans.jsonl and plans/*.npz, written so that a run can go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.replay.record import Record

FORMAT = 1
COMPLETE, INTERRUPTED = 'complete', 'interrupted'


class RunError(AlpamayoError):
    """A run folder that is none, is of another run, or cannot be written."""


class RunFolder:
    """A folder being written. ``run``: what run.json says; ``lines``: those of plans.jsonl.

    An instant is kept once its line is: the npz file is written before, run.json at the start and
    the end.
    """

    def __init__(self, path: Path, run: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        self.path, self.run, self.lines = path, run, lines

    @classmethod
    def open(cls, path: Path, run: Mapping[str, Any], settings: Mapping[str, Any], *,
             overwrite: bool = False) -> RunFolder:
        """Make the folder, or go on with the one that is there.

        ``run``: what run.json is to say; ``settings``: all that decides what the plans are. A run
        with other settings is refused with ``RunError``, which names them, unless ``overwrite``.
        """
        run = {'format': FORMAT, **run, 'settings': json.loads(json.dumps(settings)),
               'settings_hash': settings_hash(settings), 'status': INTERRUPTED}
        try:
            if path.exists() and (overwrite or not any(path.iterdir())):
                _require_a_run(path)
                shutil.rmtree(path)
            if path.exists():
                found = read_run(path)
                _compare(path, found['settings'], run['settings'])
                lines = list(_whole_lines(path / 'plans.jsonl'))
                run['created'] = found['created']
            else:
                lines = []
                (path / 'plans').mkdir(parents=True)
                (path / 'plans.jsonl').touch()
        except OSError as error:
            raise RunError(f"run folder '{path}' cannot be used: {error}") from error
        folder = cls(path, run, lines)
        folder.finish(INTERRUPTED)
        return folder

    def add(self, record: Record) -> None:
        """Keep an instant; ``RunError`` when the disk does not take it."""
        line = dict(record.line)
        try:
            if record.arrays:
                line['arrays'] = f'plans/{len(self.lines):06d}.npz'
                target = self.path / line['arrays']
                part = target.with_suffix('.part')
                with part.open('wb') as stream:
                    np.savez_compressed(stream, **record.arrays)
                os.replace(part, target)
            with (self.path / 'plans.jsonl').open('a', encoding='utf-8') as stream:
                stream.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + '\n')
        except OSError as error:
            raise RunError(f"run folder '{self.path}' cannot be written: {error}") from error
        self.lines.append(line)

    def records(self) -> Iterator[Record]:
        """The records that are there, with their arrays, in order."""
        for line in self.lines:
            yield read_record(self.path, line)

    def finish(self, status: str, **more: Any) -> None:
        """Write run.json with the status and whatever else is known now."""
        self.run |= {'status': status, **more}
        part = self.path / 'run.json.part'
        try:
            part.write_text(json.dumps(self.run, indent=2, ensure_ascii=False, allow_nan=False)
                            + '\n', encoding='utf-8')
            os.replace(part, self.path / 'run.json')
        except OSError as error:
            raise RunError(f"run folder '{self.path}' cannot be written: {error}") from error


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that tell settings apart."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_run(path: Path) -> dict[str, Any]:
    """What run.json in the folder says; ``RunError`` when it is no run of this format."""
    try:
        run = json.loads((path / 'run.json').read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' is not a run folder: {error}") from error
    if not isinstance(run, dict) or run.get('format') != FORMAT:
        found = run.get('format') if isinstance(run, dict) else type(run).__name__
        raise RunError(f"'{path}' is a run of format {found!r}; expected {FORMAT}")
    return run


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of plans.jsonl in the folder, in order; a last one cut short is left out."""
    return [line for line, _ in _lines(path / 'plans.jsonl')]


def read_record(path: Path, line: Mapping[str, Any]) -> Record:
    """The record of a line of the run in the folder; ``RunError`` when its arrays are damaged."""
    if not line['arrays']:
        return Record(dict(line))
    try:
        with np.load(path / line['arrays'], allow_pickle=False) as file:
            return Record(dict(line), {name: file[name] for name in file.files})
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(f"'{path / line['arrays']}' cannot be read: {error}") from error


def _require_a_run(path: Path) -> None:
    """Nothing that is no run is ever removed."""
    if any(path.iterdir()) and not (path / 'run.json').is_file():
        raise RunError(f"'{path}' is not a run folder, so it is not overwritten; expected an empty "
                       'or new directory')


def _lines(file: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Each line that is whole, and where it ends in the file."""
    end = 0
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RunError(f"'{file}' cannot be read: {error}") from error
    for raw in content.splitlines(keepends=True):
        end += len(raw)
        if not raw.endswith(b'\n'):
            return
        try:
            line = json.loads(raw)
        except ValueError as error:
            raise RunError(f"'{file}' is damaged at byte {end - len(raw)}: {error}") from error
        yield line, end


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """The lines; what was being written when the run ended is cut off."""
    lines, end = [], 0
    for line, end in _lines(file):  # noqa: B007
        lines.append(line)
    with file.open('r+b') as stream:
        stream.truncate(end)
    return lines


def _compare(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = []
    for name in sorted({*found, *wanted}):
        was, now = found.get(name), wanted.get(name)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            differing += [f'{name} {key}: {was.get(key)!r} there, {now.get(key)!r} now'
                          for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
        elif was != now:
            differing.append(f'{name}: {was!r} there, {now!r} now')
    if differing:
        raise RunError(f"run folder '{path}' is of other settings ({'; '.join(differing)}); "
                       'expected the same, another --out, or --overwrite')
