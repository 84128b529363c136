"""Simulation time: a clock that jumps back, a pause, and the same plan for the same input."""

from __future__ import annotations

import pytest
from harness import stamp_ns, values_of
from rig import ODOMETRY, TICK_NS, Rig

START_NS = 500_000_000_000
FRAME_NS = 100_000_000
# Instants at which the input of run_once stops until they are planned.
MEETINGS_NS = tuple(START_NS + seconds * 1_000_000_000 for seconds in (2, 3, 4))


@pytest.fixture
def rig():
    """A rig with a clock of its own."""
    rig = Rig(clock='sim', start_ns=START_NS)
    yield rig
    rig.stop()


def t0s(watcher) -> list[int]:
    """t0 of the plans so far."""
    return [stamp_ns(path.header.stamp) for path in watcher.paths]


def test_sim_time_jumps_pauses_and_silence(start, watcher, rig):
    process = start({'use_sim_time': True})
    watcher.wait_for_status('model', 'OK', '^active')
    rig.start()
    watcher.wait_for_plan(2)
    assert all(START_NS <= t0 < START_NS + 600_000_000_000 for t0 in t0s(watcher))

    # A pause: nothing is planned twice, diagnostics go on and say what is missing.
    rig.pause()
    watcher.wait_for_status('plan', 'ERROR', 'stale: no plan for .* no message for')
    before = t0s(watcher)
    assert before == sorted(set(before))
    watcher.wait_for_silence()
    stamps = [stamp_ns(array.header.stamp) for array in watcher.diagnostics]
    assert len(set(stamps)) == 1  # the node's clock stands still, its diagnostics do not
    rig.resume()
    watcher.wait_for_plan(2)
    assert min(t0s(watcher)) > max(before)

    # A bag that loops: plans of times that have been planned before.
    latest = max(t0s(watcher))
    rig.jump(-20.0)
    watcher.wait(lambda: any(t0 < latest - 10_000_000_000 for t0 in t0s(watcher)),
                 'a plan of the time after the jump')
    status = watcher.wait_for_status('plan', 'OK|WARN', '')
    assert int(values_of(status)['clock_jumps']) >= 1
    assert 'the clock jumped by -' in process.output()

    # And forwards.
    rig.jump(50.0)
    watcher.wait(lambda: any(t0 > latest + 10_000_000_000 for t0 in t0s(watcher)),
                 'a plan of the time after the jump forwards')
    assert process.stop() == 0


def test_stamps_that_jump_back_without_a_clock_message(start, watcher, rig):
    # Live stamps of another machine that is set back: the node's own clock knows nothing.
    process = start({'max_input_age_s': 60.0})
    wall = Rig()
    try:
        wall.start()
        watcher.wait_for_plan()
        latest = max(t0s(watcher))
        wall.jump(-20.0)
        watcher.wait(lambda: any(t0 < latest - 10_000_000_000 for t0 in t0s(watcher)),
                     'a plan of the stamps after the jump')
        status = watcher.wait_for_status('plan', 'OK|WARN', '')
        assert int(values_of(status)['clock_jumps']) >= 1
        assert 'jumped back' in values_of(watcher.status(ODOMETRY))['last_warning']
    finally:
        wall.stop()
    assert process.stop() == 0


def test_sim_time_without_a_clock_is_said(start, watcher):
    start({'use_sim_time': True})
    wall = Rig()
    try:
        wall.start()
        watcher.wait_for_status('plan', 'ERROR', 'nothing has come on /clock')
        assert not watcher.infos
    finally:
        wall.stop()


def run_once(start, watcher) -> dict[int, list]:
    """The plans of a process of its own from the same input, which stops at MEETINGS_NS.

    Which instants are planned in between follows from how fast the machine is; where time stands
    still the newest one is, whatever the machine.
    """
    process = start({'use_sim_time': True, 'max_input_age_s': 60.0, 'temperature': 1.0,
                     'max_generation_length': 24})
    watcher.wait_for_status('model', 'OK', '^active')
    rig = Rig(clock='sim', start_ns=START_NS, reliable=True)
    try:
        rig.wait_for_readers()
        for meeting in MEETINGS_NS:
            # To the tick before the next frame of any camera is due.
            rig.publish_ticks((meeting + FRAME_NS - rig.now_ns) // TICK_NS)
            watcher.wait(lambda meeting=meeting: meeting in watcher.complete(),
                         f'the plan of {meeting}')
    finally:
        rig.stop()
    complete = watcher.complete()
    assert process.stop() == 0
    return complete


def test_two_processes_make_the_same_paths_bit_for_bit(start, watcher):
    first = run_once(start, watcher)
    second = run_once(start, watcher)
    common = first.keys() & second.keys()
    assert common >= set(MEETINGS_NS), (sorted(first), sorted(second))
    for t0 in common:
        assert first[t0] == second[t0]
    assert len({path.poses[-1].pose.position.x for paths in first.values() for path in paths}) > 32


