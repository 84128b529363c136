"""The planner node as a process of its own, ended whatever happens."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node

import alpamayo_ros
from alpamayo_ros.errors import AlpamayoError

NODE_NAME = '/alpamayo'
_STOP_S = 10.0
# The node configures itself as soon as it is there; unconfigured for longer, it has failed to.
_UNCONFIGURED_S = 5.0


class NodeError(AlpamayoError):
    """The planner node did not start, or did not end, as it should."""


class NodeProcess:
    """Runs the node with its output in a log file; a context manager that ends it.

    ``returncode``: None while it runs.
    """

    def __init__(self, parameters: Mapping[str, object], log: Path) -> None:
        """Start the node with these parameters (bools, numbers, strings)."""
        self.log = log
        command = [sys.executable, '-m', 'alpamayo_ros.cli.planner', '--ros-args']
        for name, value in parameters.items():
            command += ['-p', f'{name}:={_yaml(value)}']
        # The same package as this process runs, wherever that was imported from.
        root = str(Path(alpamayo_ros.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get('PYTHONPATH'))))
        with log.open('wb') as output:
            # A session of its own: Ctrl-C reaches this process, which then ends the node.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONPATH': path, 'PYTHONUNBUFFERED': '1'},
                start_new_session=True, preexec_fn=_end_with_parent)

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def cpu_seconds(self) -> float:
        """Processor time it has used so far, all threads and cores; 0 when it is gone."""
        try:
            stat = Path(f'/proc/{self._process.pid}/stat').read_text(encoding='utf-8')
        except OSError:
            return 0.0
        user, system = stat.rpartition(')')[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

    def watch(self, ended: threading.Event) -> None:
        """Set ``ended`` as soon as the process is gone."""
        def wait() -> None:
            self._process.wait()
            ended.set()

        threading.Thread(target=wait, name='node watch', daemon=True).start()

    def wait_until_active(self, node: Node, timeout_s: float, stop: threading.Event,
                          seen: Callable[[str], None] = lambda label: None) -> None:
        """Wait until the node's lifecycle state is active; ``node`` must be spun elsewhere.

        ``seen`` is called with every new state. ``NodeError`` when the process ends, the node
        stays unconfigured or the time is up; returns early when ``stop`` is set.
        """
        client = node.create_client(GetState, f'{NODE_NAME}/get_state')
        deadline = time.monotonic() + timeout_s
        label, since = '', time.monotonic()
        try:
            while not stop.is_set():
                if self.returncode is not None:
                    raise NodeError(f'the node ended by itself with exit code {self.returncode}')
                if time.monotonic() > deadline:
                    raise NodeError(f'the node is {label or "silent"} after {timeout_s:.0f} s; '
                                    'expected active')
                state = self._state(client, stop) if client.service_is_ready() else None
                if state is not None and state.label != label:
                    label, since = state.label, time.monotonic()
                    seen(label)
                if label == 'active':
                    return
                if label == 'unconfigured' and time.monotonic() - since > _UNCONFIGURED_S:
                    raise NodeError('the node could not be configured')
                stop.wait(0.1)
        finally:
            node.destroy_client(client)

    def _state(self, client: object, stop: threading.Event) -> State | None:
        future = client.call_async(GetState.Request())
        deadline = time.monotonic() + 5.0
        while not future.done() and time.monotonic() < deadline and self.returncode is None:
            if stop.wait(0.02):
                break
        if not future.done():
            client.remove_pending_request(future)
            return None
        return future.result().current_state

    def stop(self) -> int:
        """End the node: SIGINT, and SIGKILL if it is still there 10 s later. Its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode

    def log_tail(self, lines: int = 25) -> str:
        """Return the last lines of the log."""
        text = self.log.read_text(encoding='utf-8', errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In the new process: have it end even when this one is killed outright."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
