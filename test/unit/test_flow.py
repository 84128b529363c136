"""Flow matching: times, the Euler loop against its closed form, guidance and noise."""

from __future__ import annotations

import pytest
import torch

from alpamayo_ros.model.flow import euler, guided, schedule, start_noise


@pytest.mark.parametrize('steps', [1, 2, 10, 50])
def test_times_run_evenly_from_zero_to_one(steps):
    times = schedule(steps)
    assert times.dtype == torch.float32 and times.shape == (steps + 1,)
    assert times[0] == 0 and times[-1] == 1
    assert torch.allclose(times, torch.arange(steps + 1) / steps, atol=1e-7, rtol=0)


@pytest.mark.parametrize('steps', [1, 3, 10])
def test_growth_is_that_of_euler_not_of_the_exponential(steps):
    x = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    found = euler(lambda x, t: x, x, schedule(steps))
    assert found.shape == x.shape
    assert torch.allclose(found, x * (1 + 1 / steps) ** steps, atol=0, rtol=1e-6)


@pytest.mark.parametrize('steps', [1, 4, 10])
def test_velocity_is_taken_at_the_start_of_a_step(steps):
    # sum of (i / n) / n for i < n
    found = euler(lambda x, t: t.expand(2), torch.zeros(2), schedule(steps))
    assert torch.allclose(found, torch.full((2,), (steps - 1) / (2 * steps)), atol=1e-6)


def test_times_need_not_be_even():
    # x: 1, 1 + 0.25, 1.25 + 0.75 * 1.25
    found = euler(lambda x, t: x, torch.ones(1), torch.tensor([0.0, 0.25, 1.0]))
    assert float(found) == pytest.approx(1.25 * 1.75)


def test_one_evaluation_a_step_and_the_start_is_left_alone():
    seen = []
    start = torch.zeros(3)
    euler(lambda x, t: seen.append(float(t)) or torch.ones(3), start, schedule(4))
    assert seen == [0.0, 0.25, 0.5, 0.75] and not start.any()


def test_guidance():
    with_navigation, without = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 4.0])
    assert torch.equal(guided(with_navigation, without, 0.0), without)
    assert torch.equal(guided(with_navigation, without, 1.0), with_navigation)
    assert torch.equal(guided(with_navigation, without, 2.5), torch.tensor([6.0, -8.5]))


def test_noise_is_seeded_normal_and_drawn_on_the_cpu():
    def draw(seed, count=500):
        return start_noise(count, 64, torch.Generator().manual_seed(seed))

    noise = draw(7)
    assert noise.shape == (500, 64, 2)
    assert noise.dtype == torch.float32 and noise.device.type == 'cpu'
    assert torch.equal(noise, draw(7)) and not torch.equal(noise, draw(8))
    # 64 000 values: the mean deviates by 0.004, the variance by 0.0056.
    assert noise.mean().abs() < 0.018 and (noise.var() - 1).abs() < 0.025
    assert (noise.abs() > 3).double().mean() == pytest.approx(0.0027, abs=0.001)
