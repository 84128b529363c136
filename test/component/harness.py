"""The real node in its own process, and what the tests see of it over DDS."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Path
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

ROOT = FilePath(__file__).resolve().parents[2]
CHECKPOINT = ROOT / 'test' / 'data' / 'golden' / 'alpamayo1_5'
TIMEOUT_S = 120.0

TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE, 'cleanup': Transition.TRANSITION_CLEANUP,
    'activate': Transition.TRANSITION_ACTIVATE, 'deactivate': Transition.TRANSITION_DEACTIVATE,
    'shutdown_unconfigured': Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    'shutdown_inactive': Transition.TRANSITION_INACTIVE_SHUTDOWN,
    'shutdown_active': Transition.TRANSITION_ACTIVE_SHUTDOWN,
}

# Small images and short texts are fast; a slow machine must not make plans late; the random
# weights of the checkpoint know no limits.
PARAMETERS: dict[str, Any] = {
    'checkpoint': str(CHECKPOINT), 'min_pixels': 4096, 'max_pixels': 9216,
    'max_generation_length': 8, 'num_inference_steps': 2, 'model.cpu_threads': 1,
    'max_input_age_s': 1.0, 'max_plan_age_s': 60.0,
}


def level_of(status: DiagnosticStatus) -> str:
    """OK, WARN, ERROR or STALE."""
    return ('OK', 'WARN', 'ERROR', 'STALE')[status.level[0]]


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    """The key-values as a dict."""
    return {item.key: item.value for item in status.values}


def stamp_ns(stamp) -> int:
    """Nanoseconds of a stamp."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


class Unpacked:
    """Messages kept as they came and unpacked when somebody looks.

    Unpacking 32 paths of 64 poses a plan as they come would keep a core busy.
    """

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._raw: list[bytes] = []
        self._messages: list = []

    def append(self, raw: bytes) -> None:
        """One more."""
        self._raw.append(raw)

    def clear(self) -> None:
        """None any more; lists given out before stay."""
        self._raw, self._messages = [], []

    def __len__(self) -> int:
        return len(self._raw)

    def messages(self) -> list:
        """All of them."""
        for raw in self._raw[len(self._messages):]:
            self._messages.append(deserialize_message(raw, self._kind))
        return self._messages


class Watcher:
    """Everything the node publishes, as it comes, and its services."""

    def __init__(self, node: Node, name: str = '/alpamayo') -> None:
        self._node = node
        self._changed = threading.Condition()
        self._candidates, self._paths, self._markers = Unpacked(Path), Unpacked(Path), Unpacked(
            MarkerArray)
        self.reasoning: list[String] = []
        self.infos: list[DiagnosticStatus] = []
        self.diagnostics: list[DiagnosticArray] = []
        reliable = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
        for kind, topic, store in (
                (Path, f'{name}/output/candidate_paths', self._candidates),
                (Path, f'{name}/output/path', self._paths),
                (String, f'{name}/output/reasoning', self.reasoning),
                (MarkerArray, f'{name}/output/markers', self._markers),
                (DiagnosticStatus, f'{name}/output/plan_info', self.infos),
                (DiagnosticArray, '/diagnostics', self.diagnostics)):
            node.create_subscription(kind, topic, self._into(store), reliable,
                                     raw=isinstance(store, Unpacked))
        self._clients = {
            'change': node.create_client(ChangeState, f'{name}/change_state'),
            'state': node.create_client(GetState, f'{name}/get_state'),
            'set': node.create_client(SetParameters, f'{name}/set_parameters'),
        }

    @property
    def candidates(self) -> list[Path]:
        """Every candidate path so far."""
        return self._candidates.messages()

    @property
    def paths(self) -> list[Path]:
        """Every selected path so far."""
        return self._paths.messages()

    @property
    def markers(self) -> list[MarkerArray]:
        """Every array of markers so far."""
        return self._markers.messages()

    def _into(self, store: list) -> Callable[[object], None]:
        def take(message: object) -> None:
            with self._changed:
                store.append(message)
                self._changed.notify_all()
        return take

    def clear(self) -> None:
        """Forget what has come so far."""
        with self._changed:
            for store in (self._candidates, self._paths, self.reasoning, self._markers, self.infos,
                          self.diagnostics):
                store.clear()

    def wait_for_silence(self) -> None:
        """Until no message of a plan has come for two diagnostics; some may still be on the way."""
        for _ in range(10):
            self.clear()
            self.wait(lambda: len(self.diagnostics) >= 2, 'two diagnostics')
            with self._changed:
                if not (self._candidates or self._paths or self.reasoning or self._markers
                        or self.infos):
                    return
        raise AssertionError('plans go on being published')

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Until ``condition()`` is true, looked at whenever a message comes; its value."""
        with self._changed:
            result = self._changed.wait_for(condition, timeout_s)
            if not result:
                raise AssertionError(f'{what}: did not come about; {self._summary()}')
            return result

    def _summary(self) -> str:
        last = self.diagnostics[-1].status if self.diagnostics else []
        lines = [f'{status.name} {level_of(status)} {status.message}' for status in last]
        return f'{len(self.infos)} plans; last diagnostics:\n' + '\n'.join(lines)

    def sets(self) -> dict[int, list[Path]]:
        """Candidate paths by stamp, in order of arrival."""
        result: dict[int, list[Path]] = {}
        for path in self.candidates:
            result.setdefault(stamp_ns(path.header.stamp), []).append(path)
        return result

    def complete(self) -> dict[int, list[Path]]:
        """The sets of the plans of which every message has come, by t0."""
        infos = {int(values_of(info)['t0'].replace('.', '')) for info in self.infos}
        paths = {stamp_ns(path.header.stamp) for path in self.paths}
        markers = {stamp_ns(array.markers[0].header.stamp) for array in self.markers}
        return {t0: paths_of for t0, paths_of in self.sets().items()
                if t0 in infos & paths & markers
                and len(paths_of) >= int(values_of(self.infos[0])['candidates'])}

    def wait_for_plan(self, count: int = 1) -> None:
        """Until so many more complete plans have come from now on."""
        with self._changed:
            before = len(self.infos)
        self.wait(lambda: len(self.infos) >= before + count, f'{count} plans')

    def status(self, stream: str) -> DiagnosticStatus | None:
        """The last status of 'front_wide', 'model', 'plan', ..."""
        for array in reversed(self.diagnostics):
            for status in array.status:
                if status.name == f'alpamayo: {stream}':
                    return status
        return None

    def wait_for_status(self, stream: str, level: str, pattern: str) -> DiagnosticStatus:
        """Until the newest diagnostics have this level ('OK|WARN': either) and such a message."""
        def found() -> DiagnosticStatus | None:
            status = self.status(stream)
            fits = (status is not None and level_of(status) in level.split('|')
                    and re.search(pattern, status.message))
            return status if fits else None
        return self.wait(found, f'{stream} {level} with {pattern!r}')

    def _try(self, client: str, request: object, timeout_s: float) -> Any:
        service = self._clients[client]
        done = threading.Event()
        future = service.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if done.wait(timeout_s):
            return future.result()
        service.remove_pending_request(future)
        return None

    def _call(self, client: str, request: object) -> Any:
        # Once get_state answers, the services made before it are known as well.
        self.state()
        answer = self._try(client, request, TIMEOUT_S)
        if answer is None:
            raise AssertionError(f'service {client} does not answer')
        return answer

    def state(self) -> str:
        """The lifecycle state.

        Asked again until it is answered: a request that went out while only the process of the
        test before was known is lost.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if self._clients['state'].wait_for_service(TIMEOUT_S):
                answer = self._try('state', GetState.Request(), 3.0)
                if answer is not None:
                    return answer.current_state.label
        raise AssertionError('get_state is not answered')

    def change(self, transition: str) -> bool:
        """Ask for a transition; whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        return self._call('change', request).success

    def set(self, **values: Any) -> list[str]:
        """Set parameters ('__' stands for a dot); the reason of each refusal."""
        request = SetParameters.Request(parameters=[
            _parameter(name.replace('__', '.'), value) for name, value in values.items()])
        results = self._call('set', request).results
        return [result.reason for result in results if not result.successful]


def _parameter(name: str, value: Any) -> ParameterMessage:
    return Parameter(name, value=value).to_parameter_msg()


class NodeProcess:
    """``planner`` as a process. ``arguments`` come before ``--ros-args``."""

    def __init__(self, log: FilePath, parameters: dict[str, Any] | None = None, *,
                 command: list[str] | None = None, extra: list[str] | None = None) -> None:
        self.log = log
        ros: list[str] = ['--ros-args']
        for name, value in (PARAMETERS if parameters is None else parameters).items():
            ros += ['-p', f'{name}:={_yaml(value)}']
        command = command or [sys.executable, '-m', 'alpamayo_ros.cli.planner']
        with log.open('w') as output:
            self.process = subprocess.Popen(
                [*command, *ros, *(extra or [])], stdout=output, stderr=subprocess.STDOUT,
                cwd=ROOT, env={**os.environ, 'OMP_NUM_THREADS': '1'})

    def output(self) -> str:
        """What it has logged so far."""
        return self.log.read_text()

    def wait_for_output(self, pattern: str, timeout_s: float = TIMEOUT_S) -> None:
        """Until it has logged something that matches."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.output()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f'{pattern!r} was not logged:\n{self.output()}')
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Until it has ended; the exit code."""
        return self.process.wait(TIMEOUT_S)

    def stop(self) -> int:
        """SIGINT, and the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGINT)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(f'"{item}"' for item in value) + ']'
    if value == '':
        return '""'
    return str(value)
