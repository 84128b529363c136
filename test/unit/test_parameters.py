"""The parameter table, its checks, and the settings made from it."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

from alpamayo_ros.alignment import AlignmentSettings  # noqa: E402
from alpamayo_ros.ros.parameter_table import BY_NAME, PARAMETERS, ParameterError, ParameterSpec  # noqa: E402
from alpamayo_ros.ros.parameters import descriptor, node_settings  # noqa: E402
from alpamayo_ros.settings import PlannerSettings, PlausibilityLimits  # noqa: E402


def values(**changes):
    """Every default, a checkpoint, and changes ('__' stands for a dot)."""
    result = {spec.name: spec.default for spec in PARAMETERS}
    result['checkpoint'] = 'somewhere'
    result.update((name.replace('__', '.'), value) for name, value in changes.items())
    return result


def test_names_are_distinct():
    assert len(BY_NAME) == len(PARAMETERS)


@pytest.mark.parametrize('spec', PARAMETERS, ids=lambda spec: spec.name)
def test_every_default_passes_its_own_check_and_is_described(spec):
    assert spec.check(spec.default) == spec.default
    assert len(spec.description) > 10
    assert (spec.low is None) == (spec.high is None)
    if type(spec.default) in (int, float):
        assert spec.low < spec.high


@pytest.mark.parametrize(('name', 'value'), [
    ('temperature', 0.0), ('temperature', math.nan), ('temperature', math.inf),
    ('temperature', 1), ('temperature', '0.6'), ('num_candidates', 0), ('num_candidates', 2000),
    ('num_candidates', True), ('num_candidates', 32.0), ('seed', -1), ('autostart', 1),
    ('dtype', 'int8'), ('cameras', []), ('cameras', ['front_wide', 'front_wide']),
    ('cameras', ['Front_Wide']), ('cameras', 'front_wide'), ('cameras', [1, 2]),
    ('cameras', None), ('checkpoint', None),
])
def test_a_wrong_value_is_refused_with_name_value_and_range(name, value):
    with pytest.raises(ParameterError) as caught:
        BY_NAME[name].check(value)
    text = str(caught.value)
    assert text.startswith(f"parameter '{name}' is {value!r}; expected ")
    assert text.endswith(BY_NAME[name].expected)


def test_range_ends_are_allowed():
    spec = ParameterSpec('x', 1.0, 'a number', 0.5, 2.0)
    assert spec.check(0.5) == 0.5
    assert spec.check(2.0) == 2.0
    assert spec.expected == 'double, 0.5 to 2.0'


def test_a_list_of_words_is_taken_in_any_sequence_type():
    assert BY_NAME['cameras'].check(['front_tele', 'rear_left']) == ('front_tele', 'rear_left')


def test_defaults_are_those_of_the_core():
    settings = node_settings(values())
    assert settings.planner == PlannerSettings()
    assert settings.alignment == AlignmentSettings()
    assert settings.checkpoint == Path('somewhere')
    assert settings.engine_dir is None


def test_every_choice_of_the_core_is_a_parameter():
    for field in fields(PlannerSettings):
        assert field.name == 'limits' or field.name in BY_NAME
    for field in fields(PlausibilityLimits):
        assert f'limits.{field.name}' in BY_NAME
    for field in fields(AlignmentSettings):
        # The grid is that of the model's history; the cameras are a parameter of the node.
        assert field.name in ('camera_names', 'grid_s') or f'alignment.{field.name}' in BY_NAME


def test_every_value_arrives_where_it_belongs():
    settings = node_settings(values(
        top_k=1, num_inference_steps=7, min_pixels=4096, max_pixels=9216, seed=2 ** 63 - 1,
        limits__max_backward_m=2.5, alignment__stall_s=0.7, footprint__rear_m=0.5,
        expert__backend='torch', expert__engine_dir='~/engine', model__cpu_threads=3,
        decode_threads=4, plan_period_s=0.5,
        cameras=['front_tele', 'cross_left'], output_frame='base_link', guidance_weight=1.5))
    assert settings.planner.top_k == 1
    assert settings.planner.num_inference_steps == 7
    assert (settings.planner.min_pixels, settings.planner.max_pixels) == (4096, 9216)
    assert settings.planner.seed == 2 ** 63 - 1
    assert settings.planner.guidance_weight == 1.5
    assert settings.planner.limits.max_backward_m == 2.5
    assert settings.alignment.stall_s == 0.7
    assert settings.footprint.rear_m == 0.5
    assert settings.engine_dir == Path.home() / 'engine'
    assert (settings.cpu_threads, settings.decode_threads) == (3, 4)
    assert settings.plan_period_s == 0.5
    assert settings.output_frame == 'base_link'
    assert [camera.name for camera in settings.cameras] == ['cross_left', 'front_tele']
    assert settings.alignment.camera_names == ('cross_left', 'front_tele')


@pytest.mark.parametrize('name', ['top_k', 'num_inference_steps', 'min_pixels', 'max_pixels'])
def test_zero_leaves_the_choice_to_the_checkpoint(name):
    assert getattr(node_settings(values(**{name: 0})).planner, name) is None
    assert getattr(node_settings(values(**{name: 5})).planner, name) == 5


@pytest.mark.parametrize(('changes', 'text'), [
    ({'checkpoint': ''}, "parameter 'checkpoint' is ''"),
    ({'device': 'cuda:x'}, "parameter 'device' is 'cuda:x'; expected cpu, cuda or cuda:N"),
    ({'odometry_frame': ''}, "parameter 'odometry_frame' is ''"),
    ({'min_pixels': 9216, 'max_pixels': 4096}, 'max_pixels is 4096; expected at least min_pixels'),
])
def test_what_cannot_be_together_is_refused(changes, text):
    with pytest.raises(ParameterError, match=text):
        node_settings(values(**changes))


@pytest.mark.parametrize('spec', PARAMETERS, ids=lambda spec: spec.name)
def test_descriptors_carry_description_range_and_read_only_flag(spec):
    message = descriptor(spec)
    assert message.description == spec.description
    assert message.read_only == spec.read_only
    ranges = list(message.floating_point_range) + list(message.integer_range)
    if spec.low is None:
        assert ranges == []
    else:
        assert [(item.from_value, item.to_value) for item in ranges] == [(spec.low, spec.high)]
    for choice in spec.choices:
        assert choice in message.additional_constraints
