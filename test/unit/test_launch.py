"""The planner's launch file and the parameter file against what the node declares.

``launch`` is not everywhere these tests run, so the file is also run against the stand-ins of
``launch_stand_ins``, which record what it asks for.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from launch_stand_ins import PROFILES, ROOT, declared, load, stand_in

pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')

from alpamayo_ros.cameras import CAMERAS  # noqa: E402
from alpamayo_ros.ros.parameter_table import BY_NAME, PARAMETERS  # noqa: E402


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file, with stand-ins for launch and launch_ros."""
    stand_in(monkeypatch)
    return load('planner')


def node(launch_file, **given: str) -> dict:
    """How the node is started when these arguments are given."""
    values = {name: item.kwargs['default_value']
              for name, item in declared(launch_file).items()}
    assert given.keys() <= values.keys()
    function = launch_file.generate_launch_description().args[0][-1].kwargs
    (action,) = function['function']({**values, **given}, *function['args'])
    return action.kwargs


def flat(tree: dict, prefix: str = '') -> dict:
    """Nested parameters by their dotted names."""
    result = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            result.update(flat(value, f'{prefix}{name}.'))
        else:
            result[prefix + name] = value
    return result


def test_every_argument_is_described(launch_file):
    given = declared(launch_file)
    assert {'checkpoint', 'params_file', 'namespace', 'use_sim_time', 'odometry_topic',
            'log_level', 'respawn'} <= given.keys()
    assert {f'{camera.name}_topic' for camera in CAMERAS} <= given.keys()
    for item in given.values():
        assert item.kwargs['description'].endswith('.')
    assert set(given['dtype'].kwargs['choices']) == {'', *BY_NAME['dtype'].choices}


def test_every_parameter_passed_is_one_the_node_declares(launch_file):
    started = node(launch_file, checkpoint='somewhere', image_transport='raw', use_sim_time='true',
                   device='cuda:1', dtype='bfloat16')
    file, passed = started['parameters']
    assert Path(file.args[0]).samefile(ROOT / 'config' / 'planner.yaml')
    assert passed == {'checkpoint': 'somewhere', 'image_transport': 'raw', 'use_sim_time': True,
                      'device': 'cuda:1', 'dtype': 'bfloat16'}
    assert passed.keys() - {'use_sim_time'} <= BY_NAME.keys()


def test_what_is_not_given_does_not_overrule_the_parameter_file(launch_file):
    assert node(launch_file)['parameters'][1] == {'use_sim_time': False}
    assert node(launch_file)['remappings'] == []
    assert node(launch_file)['respawn'] is False


def test_topics_are_remapped_for_both_kinds_of_image(launch_file):
    started = node(launch_file, front_wide_topic='/front/jpeg', odometry_topic='/odom')
    assert started['remappings'] == [
        ('~/input/front_wide/image', '/front/jpeg'),
        ('~/input/front_wide/image/compressed', '/front/jpeg'), ('~/input/odometry', '/odom')]


def test_the_rest_reaches_the_node(launch_file):
    started = node(launch_file, namespace='truck', respawn='true', log_level='debug')
    assert (started['package'], started['executable'], started['name']) == (
        'alpamayo_ros', 'planner', 'alpamayo')
    assert started['namespace'] == 'truck'
    assert started['respawn'] is True
    assert started['arguments'] == ['--ros-args', '--log-level', 'truck.alpamayo:=debug']
    assert node(launch_file)['arguments'] == ['--ros-args', '--log-level', 'alpamayo:=info']


def test_the_profile_for_images_is_set_unless_there_is_one(launch_file, monkeypatch):
    environment = node(launch_file)['additional_env']
    assert set(environment) == set(PROFILES)
    for path in environment.values():
        assert Path(path).samefile(ROOT / 'config' / 'fastdds.xml')
    monkeypatch.setenv(PROFILES[0], 'own.xml')
    assert node(launch_file)['additional_env'] == {}


def test_the_parameter_file_has_every_parameter_with_its_default():
    tree = yaml.safe_load((ROOT / 'config' / 'planner.yaml').read_text())
    given = flat(tree['/**']['ros__parameters'])
    defaults = {spec.name: list(spec.default) if isinstance(spec.default, tuple) else spec.default
                for spec in PARAMETERS}
    assert given == defaults
    assert {name: type(value) for name, value in given.items()} == {
        name: type(value) for name, value in defaults.items()}


def test_the_profile_is_the_default_with_room_for_six_raw_streams():
    root = ElementTree.parse(ROOT / 'config' / 'fastdds.xml').getroot()
    space = {'p': root.tag[1:].split('}')[0]}
    participant = root.find('.//p:participant', space)
    assert participant.get('is_default_profile') == 'true'
    used = {item.text for item in participant.findall('.//p:userTransports/p:transport_id', space)}
    sizes = {}
    for transport in root.findall('.//p:transport_descriptor', space):
        assert transport.find('p:transport_id', space).text in used
        if transport.find('p:type', space).text == 'SHM':
            sizes = {item: int(transport.find(f'p:{item}', space).text)
                     for item in ('segment_size', 'port_queue_capacity')}
    frame = 1920 * 1080 * 3
    assert sizes['segment_size'] >= 2 * 6 * frame
    assert sizes['port_queue_capacity'] >= 2 * 6 * frame / 65500
