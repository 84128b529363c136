"""``planner``: the node as a process."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the node until it is told to stop; returns the exit code."""
    # Here and not above: the other tools must work where there is no ROS.
    from alpamayo_ros.ros.main import main as run
    return run()


if __name__ == '__main__':
    sys.exit(main())
