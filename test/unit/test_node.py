"""Parts of the node and its process that need no other process: what fails, repeats or races."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import weakref
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

import torch  # noqa: E402
from rclpy._rclpy_pybind11 import RCLError  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.logging import get_logger  # noqa: E402

from alpamayo_ros.errors import EngineError  # noqa: E402
from alpamayo_ros.planner import Planner  # noqa: E402
from alpamayo_ros.ros import loading, main  # noqa: E402
from alpamayo_ros.ros import node as node_module  # noqa: E402
from alpamayo_ros.ros.node import AlpamayoNode  # noqa: E402

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class Log:
    """A logger that keeps errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, text: str) -> None:
        self.errors.append(text)


# Memory of the GPU

class Weights:
    """Stands for a model on the GPU."""


@pytest.fixture
def emptied(monkeypatch):
    """What was still alive of ``weights`` whenever the cache of a GPU was emptied."""
    seen = SimpleNamespace(weights=[], alive=[])
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: seen.alive.append(
        sum(weight() is not None for weight in seen.weights)))
    gc.disable()  # what is freed is freed on purpose
    yield seen
    gc.enable()


@pytest.mark.parametrize('cyclic', [False, True])
def test_a_transition_that_fails_gives_back_what_it_had_loaded(emptied, monkeypatch, cyclic):
    def load(*unused):
        weights = Weights()
        emptied.weights.append(weakref.ref(weights))
        if cyclic:
            weights.itself = weights
        raise EngineError('the engine is of another GPU')

    monkeypatch.setattr(node_module, 'load_model', load)
    log, shown = Log(), []
    node = SimpleNamespace(
        _declared=SimpleNamespace(settings=lambda: None), _settings=None, _identity=None,
        _stopping=threading.Event(), get_logger=lambda: log, _release=lambda: None,
        _health=SimpleNamespace(model_failed=shown.append))
    node._load = lambda: AlpamayoNode._load(node)
    node._give_memory_back = lambda: AlpamayoNode._give_memory_back(node)
    node.transition_failed = lambda text: AlpamayoNode.transition_failed(node, text)
    assert AlpamayoNode.on_configure(node, None) == FAILURE
    assert log.errors == shown == ['configure failed: the engine is of another GPU']
    assert len(emptied.weights) == 1 and emptied.alive == [0]
    # At the end of the process everything goes, and time is short.
    node._stopping.set()
    AlpamayoNode.on_configure(node, None)
    assert emptied.alive == [0]


def test_unloading_collects_before_it_empties_the_cache(emptied):
    class Loaded:
        def __init__(self):
            self.runtime = Weights()
            self.runtime.itself = self.runtime
            emptied.weights.append(weakref.ref(self.runtime))

        def close(self):
            del self.runtime
            torch.cuda.empty_cache()

    node = SimpleNamespace(_planner=Loaded(), _stopping=threading.Event())
    node._give_memory_back = lambda: AlpamayoNode._give_memory_back(node)
    AlpamayoNode._unload(node)
    assert node._planner is None and emptied.alive[-1] == 0


def test_without_a_gpu_nothing_is_asked_of_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: False)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: pytest.fail('CUDA was touched'))
    loading.give_memory_back()


# Threads of the model

def test_no_number_of_threads_means_the_usual_one_again(monkeypatch):
    def load(*unused, **options):
        raise EngineError('far enough')

    monkeypatch.setattr(Planner, 'load', load)
    usual = torch.get_num_threads()
    found = []
    try:
        for count in (0, usual + 2, usual + 1, 0):
            with contextlib.suppress(EngineError):
                loading.load_model(SimpleNamespace(
                    backend='torch', checkpoint='somewhere', cpu_threads=count, planner=None,
                    device='cpu', dtype='float32', engine_dir=None), lambda: False, lambda _: None)
            found.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(usual)
    assert found == [usual, usual + 2, usual + 1, usual]


# Signals

@pytest.fixture
def stopping(monkeypatch):
    """A handler of signals, on a clock the test moves; ``ends``: when the process was ended."""
    bench = SimpleNamespace(now=100.0, stop=threading.Event(), ends=[], bounds=[])
    monkeypatch.setattr(main.time, 'monotonic', lambda: bench.now)
    monkeypatch.setattr(main.os, '_exit', lambda code: bench.ends.append((bench.now, code)))
    monkeypatch.setattr(main, '_leave_after', bench.bounds.append)
    bench.handle = main._stopper(bench.stop)
    return bench


def test_an_echo_of_a_signal_does_not_cut_the_shutdown_short(stopping):
    for number, later in ((signal.SIGINT, 0.0), (signal.SIGINT, 0.02), (signal.SIGTERM, 0.9)):
        stopping.now = 100.0 + later
        stopping.handle(number, None)
    assert stopping.stop.is_set() and not stopping.ends
    assert stopping.bounds == [main.GRACE_S]


def test_a_signal_that_was_meant_again_ends_the_process(stopping):
    stopping.handle(signal.SIGINT, None)
    stopping.now += 1.5
    stopping.handle(signal.SIGINT, None)
    assert stopping.ends == [(101.5, main.FORCED_EXIT)]


# Autostart

def starter(configure=lambda: SUCCESS, activate=lambda: SUCCESS):
    """A node for autostart: its log and the transitions it asked for."""
    asked = []

    def asks(name, answer):
        def ask():
            asked.append(name)
            return answer()
        return ask

    log = Log()
    return SimpleNamespace(
        _transitions=threading.Lock(), _stopping=threading.Event(), get_logger=lambda: log,
        trigger_configure=asks('configure', configure),
        trigger_activate=asks('activate', activate)), asked, log


def refuse():
    raise RCLError('Transition is not registered')


def test_autostart_configures_and_activates():
    node, asked, log = starter()
    AlpamayoNode._autostart(node)
    assert asked == ['configure', 'activate'] and not log.errors


def test_autostart_stops_where_configure_fails_or_the_node_is_stopping():
    node, asked, log = starter(configure=lambda: FAILURE)
    AlpamayoNode._autostart(node)
    assert asked == ['configure']
    node, asked, log = starter()
    node._stopping.set()
    AlpamayoNode._autostart(node)
    assert asked == [] and not log.errors


@pytest.mark.parametrize(('refused', 'asks'), [
    ('configure', ['configure']), ('activate', ['configure', 'activate'])])
def test_autostart_says_that_somebody_was_faster(refused, asks):
    node, asked, log = starter(**{refused: refuse})
    AlpamayoNode._autostart(node)
    assert asked == asks
    assert log.errors == ['autostart ended: Transition is not registered']
    assert not node._transitions.locked()


# The clock

def test_a_clock_that_keeps_jumping_does_not_fill_the_log(capfd):
    jumps, logger = [], get_logger('jumping')
    node = SimpleNamespace(
        get_logger=lambda: logger,
        _session=SimpleNamespace(time_jumped=lambda: jumps.append(1)))
    for _ in range(50):
        AlpamayoNode._on_time_jump(
            node, SimpleNamespace(delta=SimpleNamespace(nanoseconds=-3_000_000_000)))
    assert len(jumps) == 50
    assert capfd.readouterr().err.count('the clock jumped by -3.000 s: buffers cleared') == 1
