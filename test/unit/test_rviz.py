"""The RViz configuration against what RViz has and what the node publishes.

``test/data/rviz_displays.json`` lists classes and properties, read off RViz's sources. RViz takes
no notice of a property it does not know, so a mistake here would show nothing at all.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import yaml

from alpamayo_ros.ros.node_settings import node_settings
from alpamayo_ros.ros.parameter_table import BY_NAME, PARAMETERS
from alpamayo_ros.ros.topics import OUTPUTS, image_type, input_topics, output_topic, resolve

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / 'config' / 'alpamayo.rviz').read_text(encoding='utf-8'))
RVIZ = json.loads((ROOT / 'test' / 'data' / 'rviz_displays.json').read_text(encoding='utf-8'))
MANAGER = CONFIG['Visualization Manager']
DISPLAYS = {display['Name']: display for display in MANAGER['Displays']}
SETTINGS = node_settings({spec.name: spec.default for spec in PARAMETERS} | {'checkpoint': '.'})
SHOWS = {
    'rviz_default_plugins/Path': 'nav_msgs/msg/Path',
    'rviz_default_plugins/MarkerArray': 'visualization_msgs/msg/MarkerArray',
    'rviz_default_plugins/Odometry': 'nav_msgs/msg/Odometry',
    'rviz_default_plugins/Image': 'sensor_msgs/msg/CompressedImage'}


def is_number(value: object) -> bool:
    """A number, and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_color(value: object) -> bool:
    """Three numbers up to 255 with semicolons between them."""
    match = re.fullmatch(r'(\d+); (\d+); (\d+)', str(value))
    return match is not None and all(int(part) <= 255 for part in match.groups())


KINDS = {
    'bool': lambda value: isinstance(value, bool),
    'int': lambda value: isinstance(value, int) and not isinstance(value, bool),
    'float': is_number,
    'string': lambda value: isinstance(value, str),
    'color': is_color,
    'vector': lambda value: (isinstance(value, dict) and value.keys() == {'X', 'Y', 'Z'}
                             and all(map(is_number, value.values()))),
    'list': lambda value: isinstance(value, list),
    'names': lambda value: (isinstance(value, dict)
                            and all(isinstance(item, bool) for item in value.values())),
}
GROUPS = {'displays': 'displays', 'tools': 'tools', 'views': 'views'}


def faults(value: object, expected: object, where: str) -> list[str]:
    """What of a value RViz would not understand, each with its place."""
    if isinstance(expected, list):
        return [] if value in expected else [f'{where}: {value!r} is not one of {expected}']
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            return [f'{where}: {value!r} is not a map']
        return [fault for name, item in value.items() for fault in (
            faults(item, expected[name], f'{where}/{name}') if name in expected
            else [f'{where}: there is no {name!r}'])]
    if expected.startswith('$'):
        return faults(value, RVIZ['definitions'][expected[1:]], where)
    if expected in GROUPS:
        return [fault for item in value for fault in of_class(item, GROUPS[expected], where)]
    if expected == 'view':
        return of_class(value, 'views', where)
    return [] if KINDS[expected](value) else [f'{where}: {value!r} is not a {expected}']


def of_class(item: dict, group: str, where: str) -> list[str]:
    """The same for something that has a class: a display, a view, a panel, a tool."""
    known = RVIZ[group]
    if item.get('Class') not in known:
        return [f'{where}: there is no class {item.get("Class")!r} among {group}']
    properties = known[''] | known[item['Class']]
    return faults(item, properties, f'{where}/{item.get("Name", item["Class"])}')


def test_rviz_knows_every_class_and_every_property():
    assert CONFIG.keys() == {'Panels', 'Visualization Manager', 'Window Geometry'}
    assert faults(MANAGER, RVIZ['manager'], 'manager') == []
    assert [fault for panel in CONFIG['Panels'] for fault in of_class(panel, 'panels', 'panel')
            ] == []


@pytest.mark.parametrize(('name', 'change', 'fault'), [
    ('Candidate paths', {'Buffer length': 32}, "there is no 'Buffer length'"),
    ('Candidate paths', {'Buffer Length': 32.5}, 'Buffer Length: 32.5 is not a int'),
    ('Candidate paths', {'Color': '300; 0; 0'}, "Color: '300; 0; 0' is not a color"),
    ('Candidate paths', {'Line Style': 'Dots'}, "Line Style: 'Dots' is not one of"),
    ('Plan', {'Class': 'rviz_default_plugins/Markers'}, "no class 'rviz_default_plugins/Markers'"),
    ('Plan', {'Topic': {'Filter size': 3}}, "Topic: there is no 'Filter size'"),
    ('Plan', {'Enabled': 'yes'}, "Enabled: 'yes' is not a bool")])
def test_what_rviz_does_not_know_is_found(name, change, fault):
    manager = copy.deepcopy(MANAGER)
    next(item for item in manager['Displays'] if item['Name'] == name).update(change)
    (found,) = faults(manager, RVIZ['manager'], 'manager')
    assert fault in found


def test_the_list_says_where_it_is_from():
    source = RVIZ['source']
    assert source['branch'] == 'jazzy'
    assert re.fullmatch('[0-9a-f]{40}', source['commit'])


def test_every_topic_is_one_of_the_node_and_of_the_type_its_display_shows():
    published = {resolve(topic): image_type(SETTINGS) for topic in input_topics(SETTINGS).values()}
    published[resolve('~/input/odometry')] = 'nav_msgs/msg/Odometry'
    published |= {resolve(output_topic(name)): kind for name, kind in OUTPUTS.items()}
    published[resolve(output_topic('overlay/compressed'))] = 'sensor_msgs/msg/CompressedImage'
    with_topic = [item for item in DISPLAYS.values() if 'Topic' in item]
    assert len(with_topic) == 11
    for display in with_topic:
        assert published[display['Topic']['Value']] == SHOWS[display['Class']], display['Name']
        # What others publish may be best effort, and only best effort hears both kinds.
        wanted = ('Best Effort' if '/input/' in display['Topic']['Value']
                  or display['Class'] == 'rviz_default_plugins/Image' else 'Reliable')
        assert display['Topic']['Reliability Policy'] == wanted, display['Name']
        assert display['Topic']['Durability Policy'] == 'Volatile'


def test_a_plan_fits_into_the_display_of_its_candidates():
    count = BY_NAME['num_candidates'].default
    display = DISPLAYS['Candidate paths']
    assert display['Buffer Length'] == count
    # They come at once, and each waits for TF.
    assert display['Topic']['Depth'] >= count
    assert display['Topic']['Filter size'] >= count


def test_all_six_cameras_are_shown_and_their_topics_say_that_they_are_compressed():
    images = [item for item in DISPLAYS.values()
              if item['Class'] == 'rviz_default_plugins/Image' and item['Enabled']]
    shown = {display['Topic']['Value'] for display in images}
    assert shown == {f'/alpamayo/input/{camera.name}/image/compressed'
                     for camera in SETTINGS.cameras}
    for topic in shown:
        assert topic.rpartition('/')[2] in RVIZ['raw image topics']['not raw']
    assert not DISPLAYS['Overlay']['Enabled']
    assert BY_NAME['publish_overlay'].default is False


def test_frames_are_those_of_the_node():
    assert MANAGER['Global Options']['Fixed Frame'] == SETTINGS.odometry_frame
    views = [MANAGER['Views']['Current'], *MANAGER['Views']['Saved']]
    assert {view['Target Frame'] for view in views} == {SETTINGS.base_frame, '<Fixed Frame>'}
    for view in views:
        package, name = view['Class'].split('/')
        assert view['Value'] == f'{name} ({package})'


def test_the_namespaces_are_those_of_the_markers():
    pytest.importorskip('rclpy', reason='rclpy is not installed: no ROS here')
    from test_markers import made
    given = {marker.ns for marker in made().markers if marker.action == marker.ADD}
    assert DISPLAYS['Plan']['Namespaces'] == dict.fromkeys(given, True)


def test_every_dock_has_its_place_in_the_window():
    docks = {panel['Name'] for panel in CONFIG['Panels']} | {
        name for name, display in DISPLAYS.items()
        if display['Class'] == 'rviz_default_plugins/Image'}
    geometry = CONFIG['Window Geometry']
    assert {name for name, value in geometry.items() if isinstance(value, dict)} == docks
    # Qt's own format: names are UTF-16 with their length in bytes before them.
    state = bytes.fromhex(geometry['QMainWindow State'])
    placed = {match.decode('utf-16-be') for match in re.findall(
        rb'\xfb\x00\x00\x00.((?:\x00[ -~])+)', state, re.DOTALL)}
    assert placed == docks
