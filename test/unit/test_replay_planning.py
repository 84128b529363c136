"""One instant of a replay with a planner the test controls: what is recorded, and what is sent."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from test_conversions import broken, make_plan, make_pose

from alpamayo_ros.drive.bag import Bag
from alpamayo_ros.replay.folder import RunFolder, read_lines, read_record
from alpamayo_ros.replay.output import OutputBag
from alpamayo_ros.replay.parameters import read_parameters
from alpamayo_ros.replay.planning import InstantPlanner
from alpamayo_ros.ros.node_settings import node_settings
from alpamayo_ros.ros.plan_info import ModelIdentity
from alpamayo_ros.types import Observation


@pytest.fixture
def run(tmp_path):
    """Replays plans, one an instant, into a run folder with its output bag."""
    def go(plans):
        waiting = iter(plans)
        observation = Observation(
            plans[0].t0_ns, (), np.zeros((16, 3)), np.zeros((16, 3, 3)), pose_at_t0=make_pose())
        settings = node_settings(read_parameters(None, (), {'checkpoint': 'somewhere'})[0])
        planner = InstantPlanner(
            SimpleNamespace(accepts_navigation=False, num_waypoints=4,
                            plan=lambda *unused, **options: next(waiting)),
            SimpleNamespace(observe=lambda *unused: observation, decode_ms=1.0),
            SimpleNamespace(path=lambda pose, stamps: np.ones((len(stamps), 3))),
            0, threading.Event())
        folder = RunFolder.open(tmp_path / 'run', {}, {})
        output = OutputBag(tmp_path / 'run' / 'output', settings,
                           ModelIdentity('a', 'b', 'c', 'd', 'e', 'f', 'g'), {}, mcap=False)
        for plan in plans:
            record = planner.answer(plan.t0_ns, plan.t0_ns + 100_000_000)
            folder.add(record)
            output.write(record)
        output.close()
        return tmp_path / 'run'
    return go


def test_one_candidate_that_is_not_finite_costs_its_plan_and_not_the_run(run):
    folder = run([broken(make_plan(5), 4), make_plan(5)])
    first, second = read_lines(folder)
    assert (first['status'], second['status']) == ('implausible', 'planned')
    assert first['reason'].startswith('1 of 5 candidates are not finite (sample 0); expected')
    assert (first['sequence'], second['sequence']) == (None, 1)
    # It is kept to be looked at.
    assert np.isnan(read_record(folder, first).arrays['candidates_xyz'][4]).any()
    assert json.dumps(first['metrics'], allow_nan=False)
    with Bag(folder / 'output') as bag:
        assert {message.stamp_ns for message in bag.messages()} == {second['published_ns']}
        assert bag.topics['/alpamayo/output/candidate_paths'].count == 5
