"""What a process of the tools sets up around DDS: profiles, a domain of its own, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, MutableMapping

from alpamayo_ros.resources import ResourceError, share_path

_PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# Domains up to 101 keep clear of Linux's ephemeral ports; vehicles use the low ones.
_FIRST_DOMAIN, _DOMAINS = 52, 50


def use_fastdds_profile(environ: MutableMapping[str, str] = os.environ) -> None:
    """Point Fast DDS at the package's profile unless a profile was chosen already.

    Must come before the first node of the process. Without it, shared memory is too small for
    six image streams and most frames are lost.
    """
    if any(environ.get(name) for name in _PROFILE_VARIABLES):
        return
    try:
        profile = str(share_path('config', 'fastdds.xml'))
    except ResourceError as error:
        print(f'alpamayo: playing without a Fast DDS profile, images may get lost: {error}',
              file=sys.stderr)
        return
    for name in _PROFILE_VARIABLES:
        environ[name] = profile


def use_private_domain(environ: MutableMapping[str, str] = os.environ) -> int:
    """Keep to this machine and to a ROS domain of its own unless one was chosen; return it."""
    environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if not environ.get('ROS_DOMAIN_ID'):
        environ['ROS_DOMAIN_ID'] = str(_FIRST_DOMAIN + os.getpid() % _DOMAINS)
    return int(environ['ROS_DOMAIN_ID'])


@contextlib.contextmanager
def ends_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGINT and SIGTERM instead of being interrupted; main thread only."""
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, lambda *unused: stop.set()) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
