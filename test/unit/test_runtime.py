"""The runtime: prompts kept, histories without a speed, memory given back."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from golden_data import R1, V1_5
from synthetic import drive

from alpamayo_ros.errors import ObservationError
from alpamayo_ros.model import runtime as module
from alpamayo_ros.model.runtime import Runtime

GRIDS = [(1, 4, 4)] * 2


@pytest.fixture(scope='module')
def runtime():
    return Runtime(V1_5)


def test_prompts_are_kept_but_not_all_of_them(runtime):
    first = runtime.prompt([0, 1], 1, GRIDS, None)
    assert runtime.prompt([0, 1], 1, GRIDS, None) is first
    for index in range(40):
        told = runtime.prompt([0, 1], 1, GRIDS, f'Turn left in {index} m')
        assert f'in {index} m<|route_end|>' in told.text
        assert len(runtime._prompts) <= module._PROMPTS_KEPT
    again = runtime.prompt([0, 1], 1, GRIDS, None)
    assert again is not first and torch.equal(again.ids, first.ids)


def test_everything_a_prompt_depends_on_tells_prompts_apart(runtime):
    texts = {(prompt.text, len(prompt.ids)) for prompt in (
        runtime.prompt([0, 1], 1, GRIDS, None), runtime.prompt([0, 2], 1, GRIDS, None),
        runtime.prompt([0], 2, GRIDS, None), runtime.prompt([0, 1], 1, GRIDS, 'Stop'),
        runtime.prompt([0, 1], 1, [(1, 4, 6), (1, 4, 4)], None))}
    assert len(texts) == 5


def test_a_history_without_a_speed_is_refused(runtime):
    xyz, rot = (torch.from_numpy(part) for part in drive(5.0, 0.1))
    action = torch.zeros(2, 64, 2)
    assert runtime.trajectories(action, xyz, rot)[2] == pytest.approx(5.0, abs=0.05)
    # Finite numbers, but not in float32.
    with pytest.raises(ObservationError, match='the ego history gives no speed: '):
        runtime.trajectories(action, xyz * 1e45, rot)


def test_height_is_that_of_the_last_pose(runtime):
    xyz, rot = (torch.from_numpy(part) for part in drive(5.0, 0.1))
    found, _, _ = runtime.trajectories(torch.zeros(2, 64, 2), xyz + torch.tensor([0, 0, 1.25]), rot)
    assert (found[..., 2] == 1.25).all()


def test_closing_gives_the_weights_back():
    runtime = Runtime(R1)
    weight = weakref.ref(runtime.model.vlm.lm_head.weight)
    expert = weakref.ref(runtime.model.action_out_proj.weight)
    runtime.close()
    gc.collect()
    assert weight() is None and expert() is None
