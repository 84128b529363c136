"""Writing files that are either there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = '.partial-'


@contextmanager
def written_together(directory: Path, *, last: str) -> Iterator[Path]:
    """A folder to write files into; they go to ``directory`` when the block ends well.

    ``last`` is the file that vouches for the others: the old one is removed before the first new
    file is in place, and the new one comes after all others. When the block fails or is
    interrupted, nothing is left of what it wrote and ``directory`` is as it was.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _sweep(directory)
    folder = directory / f'{_PREFIX}{os.getpid()}'
    folder.mkdir()
    try:
        yield folder
        names = sorted(path.name for path in folder.iterdir() if path.name != last)
        for path in folder.iterdir():
            _flush(path)
        (directory / last).unlink(missing_ok=True)
        for name in [*names, last]:
            os.replace(folder / name, directory / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(directory: Path) -> None:
    """Remove what a process that was killed outright has left."""
    for folder in directory.glob(f'{_PREFIX}*'):
        try:
            os.kill(int(folder.name.removeprefix(_PREFIX)), 0)
        except (ValueError, ProcessLookupError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue  # somebody else's, and at work


def _flush(path: Path) -> None:
    """To the disk: a power cut must not leave a manifest without what it vouches for."""
    with path.open('rb') as file:
        os.fsync(file.fileno())
