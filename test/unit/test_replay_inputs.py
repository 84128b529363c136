"""What a replay is told: parameters, instants, topics, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from bags import DEMO, STORE, part_of_the_demo
from rosbags.rosbag2 import Writer
from scipy.spatial.transform import Rotation

from alpamayo_ros.calibration import load_rig, read_camera
from alpamayo_ros.drive.bag import Bag
from alpamayo_ros.replay.calibration import bag_calibration, place, usable, with_rig
from alpamayo_ros.replay.parameters import parameter_file, read_parameters
from alpamayo_ros.replay.schedule import Schedule, ScheduleError
from alpamayo_ros.replay.sources import TopicError, find_sources, read_remaps
from alpamayo_ros.resources import share_path
from alpamayo_ros.ros.node_settings import node_settings
from alpamayo_ros.ros.parameter_table import BY_NAME, ParameterError
from alpamayo_ros.ros.topics import resolve

START = 1_712_345_678_039_000_000
SECOND = 10 ** 9


def test_the_node_s_parameter_file_gives_every_default():
    values, warnings = read_parameters(share_path('config', 'planner.yaml'))
    assert warnings == ()
    assert values == {name: spec.default for name, spec in BY_NAME.items()}


def test_rules_go_over_the_file_and_changes_over_both(tmp_path):
    file = tmp_path / 'file.yaml'
    file.write_text('/**: {ros__parameters: {seed: 1, top_p: 0.5, limits: {max_accel_mps2: 3.0}}}\n'
                    'alpamayo: {ros__parameters: {num_candidates: 8}}\n'
                    'other: {ros__parameters: {num_candidates: 99}}\n')
    values, _ = read_parameters(file, ['seed:=2', 'cameras:=[front_wide]'], {'seed': 3})
    assert (values['seed'], values['top_p'], values['num_candidates']) == (3, 0.5, 8)
    assert values['limits.max_accel_mps2'] == 3.0
    assert values['cameras'] == ('front_wide',)


@pytest.mark.parametrize('text, applies', [
    ('alpamayo', True), ('/alpamayo', True), ('/*', True), ('/**', True), ('beta', False)])
def test_which_nodes_of_a_parameter_file_are_this_one(tmp_path, text, applies):
    file = tmp_path / 'file.yaml'
    file.write_text(f'"{text}": {{ros__parameters: {{seed: 7}}}}')
    assert parameter_file(file) == ({'seed': 7} if applies else {})


@pytest.mark.parametrize('rules, message', [
    (['seed'], "'seed' is not a rule"), (['seed:=x'], "'seed' is 'x'; expected integer"),
    (['top_p:=7.0'], "'top_p' is 7.0"), (['seed:=[1'], 'is no value')])
def test_a_wrong_rule_is_refused(rules, message):
    with pytest.raises(ParameterError, match=message):
        read_parameters(None, rules)


def test_a_name_no_parameter_has_is_a_warning():
    assert "did you mean 'num_candidates'" in read_parameters(None, ['num_candidate:=3'])[1][0]


@pytest.mark.parametrize('text', ['[1, 2]', 'a: [', '/**: {ros__parameters: 5}'])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    file = tmp_path / 'file.yaml'
    file.write_text(text)
    with pytest.raises(ParameterError, match="parameter file '.*file.yaml'"):
        read_parameters(file)


def test_instants_of_two_parts_of_a_drive_coincide():
    whole = Schedule(0.5).instants(START, START + 10 * SECOND)
    assert whole[0] >= START + 1_600_000_000 and whole[0] - START < 2_100_000_000
    assert all(stamp % 500_000_000 == 0 for stamp in whole)
    part = Schedule(0.5, from_s=4.0, to_s=6.0).instants(START, START + 10 * SECOND)
    assert set(part) < set(whole) and len(part) == 4


def test_single_instants_move_to_the_grid():
    found = Schedule(at_s=(3.02, 3.0, 1.5)).instants(START, START + 10 * SECOND)
    assert [stamp - START for stamp in found] == [1_461_000_000, 2_961_000_000, 3_061_000_000]


@pytest.mark.parametrize('values', [
    {'every_s': 0.25}, {'every_s': 0.0}, {'every_s': -1.0}, {'every_s': float('nan')},
    {'from_s': -1.0}, {'from_s': 5.0, 'to_s': 4.0}, {'at_s': (float('inf'),)}])
def test_a_schedule_that_cannot_be(values):
    with pytest.raises(ScheduleError):
        Schedule(**values)


def test_instants_outside_the_bag():
    with pytest.raises(ScheduleError, match='outside the bag; expected 0 to 10.000 s'):
        Schedule(at_s=(11.0,)).instants(START, START + 10 * SECOND)
    with pytest.raises(ScheduleError, match='no instant lies'):
        Schedule().instants(START, START + SECOND)


@pytest.mark.parametrize('rule', ['a', ':=/b', '/a:=', '~/input/odometry:='])
def test_a_remap_that_is_none(rule):
    with pytest.raises(TopicError, match='is not a rule'):
        read_remaps([rule])


def test_names_of_topics():
    assert resolve('~/input/odometry') == '/alpamayo/input/odometry'
    assert resolve('odom') == resolve('/odom') == '/odom'


def settings(**changes):
    return node_settings(read_parameters(None, (), {'checkpoint': 'somewhere', **changes})[0])


def test_raw_images_are_looked_for_as_such():
    sources = find_sources(settings(image_transport='raw', cameras=['front_tele']), {})
    assert sources.topics['front_tele'] == '/alpamayo/input/front_tele/image'
    assert sources.types['front_tele'] == 'sensor_msgs/msg/Image'
    assert list(sources.topics) == ['front_tele', 'odometry', 'navigation']


def test_a_camera_s_place_comes_from_a_chain_of_transforms():
    half = Rotation.from_euler('z', 90, degrees=True).as_quat()
    chain = {'mast': ('base_link', np.array([1.0, 0.0, 2.0]), half),
             'camera': ('mast', np.array([0.5, 0.0, 0.0]), half), 'loop': ('loop', half[:3], half)}
    found = place('camera', 'base_link', chain)
    assert found['position_m'] == pytest.approx([1.0, 0.5, 2.0])
    assert Rotation.from_quat(found['orientation_xyzw']).apply([1, 0, 0]) == pytest.approx(
        [-1, 0, 0], abs=1e-12)
    assert place('nowhere', 'base_link', chain) == place('loop', 'base_link', chain) == {}


def test_calibration_of_a_bag_with_transforms(tmp_path):
    """The nominal rig as /tf_static comes back as that of the rig file."""
    rig = load_rig(share_path('config', 'rig.yaml'))
    types = STORE.types
    time = types['builtin_interfaces/msg/Time'](sec=0, nanosec=0)
    transforms = []
    for name, camera in rig.cameras.items():
        x, y, z, w = Rotation.from_matrix(camera.rotation.T).as_quat()
        transforms.append(types['geometry_msgs/msg/TransformStamped'](
            header=types['std_msgs/msg/Header'](stamp=time, frame_id='base_link'),
            child_frame_id=f'{name}_optical', transform=types['geometry_msgs/msg/Transform'](
                translation=types['geometry_msgs/msg/Vector3'](*camera.position),
                rotation=types['geometry_msgs/msg/Quaternion'](x=x, y=y, z=z, w=w))))
    with Bag(DEMO) as demo, Writer(tmp_path / 'bag', version=9) as writer:
        topic = writer.add_connection('/tf_static', 'tf2_msgs/msg/TFMessage', typestore=STORE)
        message = types['tf2_msgs/msg/TFMessage'](transforms=transforms)
        writer.write(topic, demo.start_ns, STORE.serialize_cdr(message, topic.msgtype))
        infos = {name: writer.add_connection(name, 'sensor_msgs/msg/CameraInfo', typestore=STORE)
                 for name in demo.topics if name.endswith('camera_info')}
        for message in demo.messages(infos):
            writer.write(infos[message.topic], message.stamp_ns, message.data)
    with Bag(tmp_path / 'bag') as bag:
        found = bag_calibration(bag, find_sources(settings(), {}), 'base_link')
    good, complaint = usable(found)
    assert complaint == '' and set(good) == set(rig.cameras)
    for name, entry in good.items():
        mine, theirs = read_camera(name, entry, 'bag'), rig.cameras[name].resized(400, 240)
        assert mine.position == pytest.approx(theirs.position)
        assert mine.rotation == pytest.approx(theirs.rotation, abs=1e-9)
        # The drive's pictures are a little taller than the rig's, with square pixels as well.
        assert mine.matrix[0] == pytest.approx(theirs.matrix[0])
        assert mine.matrix[1, 1] == pytest.approx(mine.matrix[0, 0])


def test_a_rig_file_adds_what_the_bag_does_not_tell(tmp_path):
    rig = load_rig(share_path('config', 'rig.yaml'))
    part_of_the_demo(tmp_path / 'bag', 0.5,
                     edit=lambda m: None if m.topic == '/tf_static' else m)
    with Bag(tmp_path / 'bag') as bag:
        found = bag_calibration(bag, find_sources(settings(), {}), 'base_link')
    assert 'position_m' not in found['front_wide']
    complete = with_rig(found, rig)
    assert set(complete) == set(rig.cameras)
    entry = complete['front_wide']
    assert entry['size_px'] == [400, 240] and entry['position_m'] == [1.75, 0.05, 1.48]
    assert with_rig({}, rig)['front_tele']['size_px'] == [1920, 1080]


def test_nonsense_for_calibration_is_left_out_and_said():
    good, complaint = usable({'front_wide': {'size_px': [0, 0], 'k': [1.0] * 9, 'd': [],
                                             'distortion_model': 'plumb_bob'}})
    assert good == {} and "camera 'front_wide': size_px is [0, 0]" in complaint


def test_the_part_of_a_drive_that_tests_use_begins_as_the_drive(tmp_path):
    with Bag(part_of_the_demo(tmp_path / 'bag', 0.2)) as part, Bag(DEMO) as whole:
        assert part.start_ns == whole.start_ns
        assert all(a == b for a, b in zip(part.messages(), whole.messages(), strict=False))
