"""The launch files for replaying and looking, and what holds for all of them.

They are run against stand-ins; where launch and launch_ros are installed, with the real ones too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from launch_stand_ins import FILES, PROFILES, ROOT, declared, entities, load, path_of, stand_in

from alpamayo_ros.cameras import CAMERAS
from alpamayo_ros.ros.parameter_table import BY_NAME
from alpamayo_ros.ros.topics import OUTPUTS

CONFIG = yaml.safe_load((ROOT / 'config' / 'alpamayo.rviz').read_text(encoding='utf-8'))
REQUIRED = {'bag': 'somewhere'}
# Of use_sim_time, which rclpy itself declares.
FOREIGN = {'use_sim_time'}


@pytest.fixture
def launch(monkeypatch):
    """The launch files by name, with stand-ins for launch and launch_ros."""
    stand_in(monkeypatch)
    return {name: load(name) for name in FILES}


def values(launch_file, **given: str) -> dict[str, str]:
    """The arguments of a launch file as a context has them."""
    defaults = {name: item.kwargs.get('default_value', REQUIRED.get(name))
                for name, item in declared(launch_file).items()}
    assert given.keys() <= defaults.keys()
    return {**defaults, **given}


def rviz(launch, **given: str) -> dict:
    """How RViz is started."""
    view = launch['view']
    function = entities(view)[-1].kwargs['function']
    (action,) = function(values(view, **given))
    assert action.kind == 'Node'
    return action.kwargs


def handlers(launch) -> list:
    """The event handlers of the replay."""
    return [item.args[0] for item in entities(launch['replay'])
            if item.kind == 'RegisterEventHandler']


def play(launch, **given: str) -> tuple:
    """What happens when the planner is active: the handler of the player's end, and the player."""
    (started,) = [item for item in handlers(launch) if item.kwargs.get('goal_state') == 'active']
    assert started.kwargs['handle_once']
    (action,) = started.kwargs['entities']
    ends, player = action.kwargs['function'](values(launch['replay'], **given),
                                             *action.kwargs['args'])
    return ends.args[0], player


def reason(action, shutting_down: bool = False) -> str | None:
    """Why an action ends everything; None where it does not."""
    result = action.kwargs['function'](SimpleNamespace(is_shutdown=shutting_down))
    return result[0].kwargs['event'].kwargs['reason'] if result else None


@pytest.mark.parametrize('name', FILES)
def test_every_argument_is_described_and_has_a_default_or_must_be_given(launch, name):
    for argument, item in declared(launch[name]).items():
        assert re.match(r'[A-Z].*\.$', item.kwargs['description'], re.DOTALL), argument
        if argument in REQUIRED:
            assert 'default_value' not in item.kwargs
        else:
            assert isinstance(item.kwargs['default_value'], str)
        if item.kwargs.get('choices'):
            assert item.kwargs['default_value'] in item.kwargs['choices']


@pytest.mark.parametrize('name', FILES)
def test_every_file_that_is_named_exists_and_is_installed(launch, name):
    named = {item.kwargs['default_value'] for item in declared(launch[name]).values()
             if item.kwargs.get('default_value', '').startswith('/')}
    named |= {item.args[0].args[0] for item in entities(launch[name])
              if item.kind == 'IncludeLaunchDescription'}
    text = path_of(name).read_text(encoding='utf-8')
    named |= {str(ROOT / 'config' / file) for file in re.findall(r"'config', '([^']+)'", text)}
    assert named
    program = ('import json, setuptools; setuptools.setup = lambda **k: print(json.dumps('
               "[file for _, files in k['data_files'] for file in files])); "
               "exec(compile(open('setup.py').read(), 'setup.py', 'exec'))")
    result = subprocess.run([sys.executable, '-c', program], cwd=ROOT, text=True, check=True,
                            capture_output=True)
    installed = {str(ROOT / file) for file in yaml.safe_load(result.stdout)}
    assert named <= installed


@pytest.mark.parametrize('name', FILES)
def test_every_parameter_passed_to_the_planner_is_one_it_declares(launch, name):
    # Also what no argument leads to: every literal name in a dict that becomes parameters.
    text = path_of(name).read_text(encoding='utf-8')
    passed = set(re.findall(r"parameters\['(\w+)'\]", text))
    passed |= {match for block in re.findall(r'parameters\s*=\s*\[?\{(.*?)\}', text, re.DOTALL)
               for match in re.findall(r"'(\w+)':", block)}
    assert passed - FOREIGN <= BY_NAME.keys()
    if name != 'replay':
        assert 'use_sim_time' in passed


def test_rviz_shows_the_configuration_and_takes_the_topics_as_they_are(launch):
    started = rviz(launch)
    assert (started['package'], started['executable']) == ('rviz2', 'rviz2')
    assert started['arguments'] == ['-d', str(ROOT / 'config' / 'alpamayo.rviz')]
    assert started['parameters'] == [{'use_sim_time': False}]
    assert started['remappings'] == []
    assert rviz(launch, use_sim_time='true')['parameters'] == [{'use_sim_time': True}]


def test_rviz_follows_the_planner_into_a_namespace_and_to_other_topics(launch):
    plain = dict(rviz(launch, namespace='/truck/')['remappings'])
    topics = {display['Topic']['Value'] for display in CONFIG['Visualization Manager']['Displays']
              if 'Topic' in display}
    assert topics <= plain.keys()
    assert all(target == f'/truck{name}' for name, target in plain.items())
    given = dict(rviz(launch, namespace='truck', front_wide_topic='/front/jpeg',
                      odometry_topic='state')['remappings'])
    assert given['/alpamayo/input/front_wide/image/compressed'] == '/front/jpeg'
    # A relative name is one in the planner's namespace.
    assert given['/alpamayo/input/odometry'] == '/truck/state'
    assert given['/alpamayo/output/path'] == '/truck/alpamayo/output/path'


def test_the_launch_files_know_the_cameras_and_outputs_of_the_node(launch):
    names = {camera.name for camera in CAMERAS}
    assert set(launch['view'].CAMERAS) == set(launch['planner'].CAMERAS) == names
    assert set(launch['view'].OUTPUTS) - {'overlay/compressed'} <= OUTPUTS.keys()
    assert {f'{name}_topic' for name in names} | {'odometry_topic', 'namespace'} <= (
        declared(launch['view']).keys() & declared(launch['planner']).keys())


def test_the_bag_is_the_clock(launch):
    ends, player = play(launch, bag='drive', rate='0.5', start_offset='3')
    command = player.kwargs['cmd']
    assert command[:4] == ['ros2', 'bag', 'play', 'drive']
    given = dict(zip(command[4:], command[5:], strict=False))
    assert float(given['--clock']) >= 50
    assert (given['--rate'], given['--start-offset']) == ('0.5', '3')
    assert '--disable-keyboard-controls' in command
    assert '--loop' not in command
    assert '--loop' in play(launch, loop='true')[1].kwargs['cmd']
    assert player.kwargs['additional_env'].keys() == set(PROFILES)
    assert ends.kwargs['target_action'] is player
    for item in entities(launch['replay']):
        if item.kind == 'IncludeLaunchDescription':
            assert dict(item.kwargs['launch_arguments']) == {'use_sim_time': 'true'}


def test_what_a_planner_published_in_the_bag_is_left_out(launch):
    command = play(launch)[1].kwargs['cmd']
    pattern = command[command.index('--exclude-regex') + 1]
    for topic in ('/alpamayo/output/path', '/truck/alpamayo/output/overlay/compressed'):
        assert re.fullmatch(pattern, topic)
    for topic in ('/alpamayo/input/odometry', '/camera/front', '/output/path'):
        assert not re.search(pattern, topic)


def test_the_end_of_the_bag_ends_everything_after_a_grace(launch):
    ends, _ = play(launch, grace='2.5')
    (timer,) = ends.kwargs['on_exit']
    assert timer.kwargs['period'] == 2.5
    (action,) = timer.kwargs['actions']
    assert reason(action) == 'the bag has ended'
    assert reason(action, shutting_down=True) is None


def test_a_planner_that_ends_or_cannot_be_configured_ends_everything(launch):
    failed = next(item for item in handlers(launch)
                  if item.kwargs.get('goal_state') == 'unconfigured')
    assert failed.kwargs['start_state'] == 'configuring'
    assert reason(failed.kwargs['entities'][0]) == 'the planner could not be configured'
    (ended,) = [item for item in handlers(launch) if item.kind == 'OnProcessExit']
    is_planner = ended.kwargs['target_action']
    assert is_planner(SimpleNamespace(node_executable='planner'))
    assert not is_planner(SimpleNamespace(node_executable='rviz2'))
    assert not is_planner(SimpleNamespace())
    assert reason(ended.kwargs['on_exit'][0]) == 'the planner has ended'
    assert reason(ended.kwargs['on_exit'][0], shutting_down=True) is None


def test_rviz_is_left_out_on_demand(launch):
    included = {item.args[0].args[0].rpartition('/')[2]: item for item in entities(launch['replay'])
                if item.kind == 'IncludeLaunchDescription'}
    assert included.keys() == {'planner.launch.py', 'view.launch.py'}
    assert 'condition' not in included['planner.launch.py'].kwargs
    condition = included['view.launch.py'].kwargs['condition']
    assert condition.kind == 'IfCondition'
    assert condition.args[0].args == ('rviz',)


@pytest.fixture
def real(monkeypatch):
    """The real launch, with this source tree as the installed package."""
    pytest.importorskip('launch_ros', reason='launch and launch_ros are not installed')
    import ament_index_python.packages as packages
    monkeypatch.setattr(packages, 'get_package_share_directory', lambda _: str(ROOT))
    from launch import LaunchContext
    return LaunchContext()


@pytest.mark.parametrize('name', FILES)
def test_the_real_launch_reads_them_with_every_argument(real, name):
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    source = PythonLaunchDescriptionSource(str(path_of(name)))
    arguments = {item.name: item for item in
                 source.get_launch_description(real).get_launch_arguments()}
    assert all(item.description.endswith(('.', ']')) for item in arguments.values())
    wanted = {'planner': {'checkpoint', 'front_wide_topic'}, 'view': {'rviz_config', 'namespace'},
              'replay': {'bag', 'rate', 'checkpoint', 'front_wide_topic', 'rviz_config'}}
    assert wanted[name] <= arguments.keys()


def test_the_real_launch_starts_the_planner_and_plays_when_it_is_active(real):
    from launch.actions import ExecuteProcess

    from launch import LaunchDescription
    replay = load('replay')
    assert isinstance(replay.generate_launch_description(), LaunchDescription)
    real.launch_configurations.update(
        bag='drive', rate='1.0', start_offset='0.0', loop='false', grace='1.0', rviz='false')
    _, player = replay._play(real, str(ROOT))
    assert isinstance(player, ExecuteProcess)
    assert ''.join(part.text for part in player.cmd[3]) == 'drive'
