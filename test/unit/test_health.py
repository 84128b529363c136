"""What /diagnostics says in which condition, on a clock the test moves."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

from alpamayo_ros.ros.health import NAVIGATION, Health  # noqa: E402

LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')


class Bench:
    """A Health with two streams, a clock and a log."""

    def __init__(self) -> None:
        self.now, self.log = 100.0, []
        self.health = Health('node', self.log.append, lambda: self.now)
        self.health.open_streams({'left': '/left', 'odometry': '/odom', NAVIGATION: '/nav'})

    def status(self, name: str) -> tuple[str, str]:
        """Level and message."""
        found = self.message(name)
        return LEVELS[found.level[0]], found.message

    def values(self, name: str) -> dict[str, str]:
        """The key-values."""
        return {item.key: item.value for item in self.message(name).values}

    def message(self, name: str):
        """The status of that name."""
        return next(item for item in self.health.statuses() if item.name == f'node: {name}')

    def good(self, name: str, count: int = 1, period: float = 0.1) -> None:
        """Messages that are stored."""
        for _ in range(count):
            self.now += period
            self.health.stream(name).arrived(int(self.now * 1e9))
            self.health.stream(name).stored()


@pytest.fixture
def bench():
    """An active node whose streams have just begun."""
    bench = Bench()
    bench.health.activated(0.5, 2.0, 0.1)
    bench.good('odometry', 1, 0.0)
    bench.good('left', 1, 0.0)
    return bench


def test_there_is_one_status_each_and_nothing_is_judged_before_activation():
    bench = Bench()
    bench.now += 1000
    assert [item.name for item in bench.health.statuses()] == [
        'node: left', 'node: odometry', 'node: navigation', 'node: model', 'node: plan']
    assert {LEVELS[item.level[0]] for item in bench.health.statuses()} == {'OK'}


def test_rate_and_age_are_those_of_the_steady_clock(bench):
    bench.good('left', 30, 0.1)
    values = bench.values('left')
    assert float(values['rate_hz']) == pytest.approx(10, rel=0.05)
    assert float(values['age_s']) == 0
    assert values['stored'] == '31'
    assert bench.status('left') == ('OK', f'{float(values["rate_hz"]):.1f} Hz')


def test_silence_is_an_error_after_its_time_only(bench):
    bench.now += 0.4
    assert bench.status('left')[0] == 'OK'
    bench.now += 0.8
    assert bench.status('left') == (
        'ERROR', 'no message for 1.2 s; expected one at least every 0.5 s')
    bench.good('left')
    assert bench.status('left')[0] == 'OK'


def test_a_stream_that_never_came_is_named_with_its_topic():
    bench = Bench()
    bench.health.activated(0.5, 2.0, 0.1)
    assert bench.status('left') == ('ERROR', 'nothing has come on /left')


def test_a_fault_is_an_error_then_a_warning_then_history(bench):
    stream = bench.health.stream('left')
    for _ in range(5):
        bench.now += 0.1
        stream.arrived(1)
        stream.refused('JPEG is truncated')
        assert bench.status('left') == ('WARN', 'lately: JPEG is truncated')
    bench.now += 0.1
    stream.arrived(1)
    assert bench.status('left') == ('ERROR', 'JPEG is truncated')
    bench.good('left')
    assert bench.status('left') == ('WARN', 'lately: JPEG is truncated')
    bench.good('left', 60)
    assert bench.status('left')[0] == 'OK'
    assert bench.values('left')['last_error'] == 'JPEG is truncated'
    assert bench.values('left')['refused'] == '5'


def test_a_stream_of_which_nothing_is_stored_is_at_fault(bench):
    for _ in range(7):
        bench.now += 0.1
        bench.health.stream('left').arrived(1)
    assert bench.status('left') == ('ERROR', 'no message was usable for 0.7 s')


def test_navigation_may_be_silent_but_its_faults_show(bench):
    bench.now += 100
    assert bench.status(NAVIGATION) == ('OK', '0 received')
    bench.health.stream(NAVIGATION).arrived(1)
    bench.health.stream(NAVIGATION).noted('it is ignored')
    assert bench.status(NAVIGATION) == ('WARN', 'it is ignored')


def test_drops_are_counted_and_shown(bench):
    bench.good('left')
    bench.health.stream('left').dropped()
    level, message = bench.status('left')
    assert level == 'WARN'
    assert 'faster than they are decoded' in message
    assert bench.values('left')['dropped'] == '1'


def test_faults_are_logged_at_most_every_five_seconds_a_stream(bench):
    for _ in range(20):
        bench.health.stream('left').refused('bad')
        bench.health.stream('odometry').refused('worse')
        bench.now += 0.1
    assert bench.log == ['left: bad', 'odometry: worse']
    bench.now += 5
    bench.health.stream('left').refused('bad again')
    assert bench.log[-1] == 'left: bad again'


def test_model_states_failures_and_standing_warnings():
    bench = Bench()
    assert bench.status('model') == ('OK', 'unconfigured')
    bench.health.model_failed('configure failed: no such directory')
    assert bench.status('model') == ('ERROR', 'configure failed: no such directory')
    bench.health.model('active', {'backend': 'torch'})
    assert bench.status('model') == ('OK', 'active')
    assert bench.values('model') == {'backend': 'torch'}
    bench.health.warn(('no such parameter',))
    assert bench.status('model') == ('WARN', 'no such parameter')
    bench.health.model_failed('worse')
    assert bench.status('model') == ('ERROR', 'worse')


def test_plans_that_come_are_well(bench):
    plan = bench.health.plan
    plan.started()
    plan.published(3, 5_000, 12.5)
    assert bench.status('plan') == ('OK', 'planning; 1 plans published')
    values = bench.values('plan')
    assert (values['last_sequence'], values['last_t0_ns']) == ('3', '5000')
    plan.published(4, 6_000, 12.5, ('reasoning was cut',))
    assert bench.status('plan') == ('WARN', 'reasoning was cut')


@pytest.mark.parametrize('outcome', ['refused', 'stale', 'late', 'implausible', 'failed'])
def test_a_plan_that_was_not_published_is_an_error_until_one_is(bench, outcome):
    plan = bench.health.plan
    assert plan.blocked(outcome, 'odometry: 8.0 m/s against 21.0 m/s')
    expected = ('ERROR', f'{outcome}: odometry: 8.0 m/s against 21.0 m/s')
    assert bench.status('plan') == expected
    plan.started()
    assert bench.status('plan') == expected
    plan.published(1, 1, 1.0)
    assert bench.status('plan')[0] == 'OK'
    assert bench.values('plan')['last_fault'] == expected[1]
    assert bench.values('plan')[outcome] == '1'


def test_a_fault_that_goes_on_is_no_news_and_counted_once(bench):
    plan = bench.health.plan
    assert plan.blocked('refused', 'left: 0.51 s old')
    bench.now += 2
    assert not plan.blocked('refused', 'left: 0.55 s old')
    assert plan.blocked('refused', 'odometry: 0.51 s old')
    assert bench.values('plan')['refused'] == '2'
    bench.now += 2
    assert plan.blocked('late', 'by 0.5 s')
    assert not plan.blocked('late', 'by 0.6 s')
    assert bench.values('plan')['late'] == '2'


def test_streams_that_take_turns_at_being_at_fault_do_not_fill_the_log(bench):
    logged = 0
    for _ in range(50):
        bench.now += 0.1
        logged += bench.health.plan.blocked('refused', 'left: late')
        logged += bench.health.plan.blocked('refused', 'odometry: late')
    assert logged == 5


def test_no_input_names_the_stream_that_is_silent(bench):
    bench.now += 2.0
    level, message = bench.status('plan')
    assert level == 'ERROR'
    assert message.startswith('stale: no plan for 2.0 s; left: no message for 2.0 s')


def test_waiting_too_long_is_an_error_with_what_is_waited_for(bench):
    bench.health.plan.waiting('odometry: history is filling')
    bench.good('odometry')
    bench.good('left')
    assert bench.status('plan') == ('OK', 'no plan yet; odometry: history is filling')
    bench.good('odometry', 5)
    bench.good('left', 1, 0.0)
    assert bench.status('plan') == (
        'ERROR', 'stale: no plan for 0.7 s; odometry: history is filling')


def test_a_period_longer_than_input_may_be_old_is_waited_for():
    bench = Bench()
    bench.health.activated(0.5, 2.0, 1.0)
    for sequence in range(4):
        bench.health.plan.started()
        bench.health.plan.published(sequence, 1, 1.0)
        for _ in range(10):
            bench.good('left')
            bench.good('odometry', 1, 0.0)
            assert bench.status('plan')[0] == 'OK'
    bench.now += 0.6
    assert bench.status('plan')[0] == 'ERROR'


def test_a_plan_that_takes_too_long_is_an_error_while_it_runs(bench):
    bench.health.plan.started()
    bench.good('left', 15)
    bench.good('odometry', 1, 0.0)
    assert bench.status('plan')[0] == 'OK'
    assert bench.values('plan')['planning_for_s'] == '1.500'
    bench.good('left', 10)
    assert bench.status('plan') == (
        'ERROR', 'late: planning for 2.5 s already; expected at most 2.0 s')
    bench.health.plan.cancelled()
    assert bench.values('plan')['cancelled'] == '1'
    assert 'planning_for_s' not in bench.values('plan')


def test_a_clock_jump_ends_the_fault_of_the_time_before(bench):
    bench.health.plan.blocked('refused', 'left: stopped')
    bench.health.plan.clock_jumped()
    assert bench.status('plan')[0] == 'OK'
    assert bench.values('plan')['clock_jumps'] == '1'


def test_a_clock_that_keeps_jumping_is_an_error_that_says_so(bench):
    plan = bench.health.plan
    plan.published(1, 1, 1.0)
    levels = []
    for _ in range(20):
        bench.good('left')
        bench.good('odometry', 1, 0.0)
        plan.clock_jumped()
        plan.waiting('odometry: history is filling')
        levels.append(bench.status('plan')[0])
    assert levels == ['OK'] * 7 + ['ERROR'] * 13
    assert bench.status('plan')[1] == (
        'stale: no plan for 1.9 s, in which time went back 20 times (two clocks?); '
        'odometry: history is filling')
    # Plans that are begun and given up each time are none either.
    plan.started()
    plan.clock_jumped()
    plan.cancelled()
    assert bench.status('plan')[0] == 'ERROR'
    plan.published(2, 2, 1.0)
    assert bench.status('plan')[0] == 'OK'
    # One jump later nothing of it is left, also where every stream notices it by itself.
    for _ in range(4):
        bench.good('left')
        bench.good('odometry', 1, 0.0)
        plan.clock_jumped()
        assert bench.status('plan')[0] == 'OK'
    bench.good('left', 7)
    bench.good('odometry', 1, 0.0)
    assert bench.status('plan')[1] == 'stale: no plan for 0.7 s; no new input'


def test_deactivation_ends_judging_and_activation_starts_anew(bench):
    bench.health.plan.blocked('failed', 'no')
    bench.health.deactivated()
    bench.now += 100
    assert {LEVELS[item.level[0]] for item in bench.health.statuses()} == {'OK'}
    bench.health.activated(0.5, 2.0, 0.1)
    assert bench.values('plan')['failed'] == '0'


def test_messages_of_before_the_activation_are_not_held_against_a_stream(bench):
    bench.health.stream('left').refused('JPEG is truncated')
    bench.health.deactivated()
    for _ in range(600):  # it comes all the time, and nobody wants it
        bench.now += 0.1
        bench.health.stream('left').arrived(1)
    bench.health.activated(0.5, 2.0, 0.1)
    assert bench.status('left')[0] == 'OK'
    for _ in range(6):
        bench.now += 0.1
        bench.health.stream('left').arrived(1)
    assert bench.status('left') == ('ERROR', 'no message was usable for 0.6 s')
    bench.good('left')
    assert bench.status('left')[0] == 'OK'
