"""Finding the files that ship beside the code: configuration, the demo drive, test data."""

from __future__ import annotations

import sys
from pathlib import Path

from alpamayo_ros.errors import AlpamayoError

PACKAGE = 'alpamayo_ros'


class ResourceError(AlpamayoError):
    """A file of the package that is nowhere to be found."""


def share_path(*parts: str) -> Path:
    """Return the path of a file or directory of the package, such as ``'config', 'fastdds.xml'``.

    Looked for in the source checkout this module runs from, in the installed package's share
    directory (ament index) and under the Python prefix, in that order. ``ResourceError`` lists
    the places when it is in none of them.
    """
    places = _places()
    for place in places:
        path = place.joinpath(*parts)
        if path.exists():
            return path
    raise ResourceError(f"'{'/'.join(parts)}' of {PACKAGE} was not found; looked in "
                        + ', '.join(str(place) for place in places))


def _places() -> list[Path]:
    places = []
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / 'package.xml').is_file():
        places.append(checkout)
    try:
        from ament_index_python.packages import get_package_share_directory
        places.append(Path(get_package_share_directory(PACKAGE)))
    # Not sourced, not installed or no ROS at all: each has its own kind of error.
    except (ImportError, LookupError, OSError, ValueError):
        pass
    places.append(Path(sys.prefix) / 'share' / PACKAGE)
    return places
