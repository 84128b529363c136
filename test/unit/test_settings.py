"""Settings are checked when they are made, and the error names the field."""

from __future__ import annotations

import dataclasses
import math

import pytest

from alpamayo_ros.settings import PlannerSettings, PlausibilityLimits

NAN, INF = math.nan, math.inf
WRONG = {
    'num_candidates': (0, -1, 2.5, 4.0, True, None),
    'reasoning_mode': ('', 'both'),
    'temperature': (0, -0.1, NAN, INF),
    'top_p': (0, -0.5, 1.01, NAN),
    'top_k': (0, -1, 1.5),
    'max_generation_length': (0, -5),
    'guidance_weight': (-0.1, NAN, INF),
    'num_inference_steps': (0, -1),
    'min_pixels': (0, -1),
    'max_pixels': (0, -1),
    'seed': (-1, 2 ** 63, 0.0, None),
}
RIGHT = {
    'num_candidates': (1, 1000), 'reasoning_mode': ('single', 'multi'), 'temperature': (1e-3, 5),
    'top_p': (1e-6, 1), 'top_k': (None, 1, 50), 'max_generation_length': (1, 4096),
    'guidance_weight': (0, 3.5), 'num_inference_steps': (None, 1, 50), 'min_pixels': (None, 1),
    'max_pixels': (None, 1), 'seed': (0, 2 ** 63 - 1),
}
LIMITS = [field.name for field in dataclasses.fields(PlausibilityLimits)]


def test_every_field_is_in_these_tests():
    fields = {field.name for field in dataclasses.fields(PlannerSettings)} - {'limits'}
    assert fields == set(WRONG) == set(RIGHT)


@pytest.mark.parametrize('name, value', [(n, v) for n, values in WRONG.items() for v in values])
def test_wrong_value_names_the_field_and_the_value(name, value):
    with pytest.raises(ValueError) as caught:
        PlannerSettings(**{name: value})
    assert str(caught.value).startswith(f'{name} is {value!r}; expected ')


@pytest.mark.parametrize('name, value', [(n, v) for n, values in RIGHT.items() for v in values])
def test_value_at_the_edge_is_kept(name, value):
    assert getattr(PlannerSettings(**{name: value}), name) == value


def test_max_pixels_below_min_pixels():
    with pytest.raises(ValueError, match='max_pixels is 99; expected at least min_pixels'):
        PlannerSettings(min_pixels=100, max_pixels=99)
    PlannerSettings(min_pixels=100, max_pixels=100)


@pytest.mark.parametrize('name', LIMITS)
@pytest.mark.parametrize('value', [0, -1.0, NAN, INF])
def test_wrong_limit_names_the_field(name, value):
    with pytest.raises(ValueError, match=f'^{name} is .*expected a number above 0'):
        PlausibilityLimits(**{name: value})


def test_released_defaults():
    settings = PlannerSettings()
    assert (settings.num_candidates, settings.reasoning_mode) == (32, 'single')
    assert (settings.temperature, settings.top_k, settings.top_p) == (0.6, None, 0.98)
    assert (settings.max_generation_length, settings.guidance_weight) == (256, 0.0)


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PlannerSettings().seed = 1
