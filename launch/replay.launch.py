"""A recorded drive through the planner, with RViz: ``replay.launch.py bag:=PATH checkpoint:=DIR``.

The bag's clock is everybody's time. It starts to play when the planner is active, and a while after
its end everything ends. Besides the arguments below those of ``planner.launch.py`` (topics,
parameter file) can be given; ``--show-args`` lists them all.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

from launch import LaunchDescription

CLOCK_HZ = '100'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def _arguments(share):
    yield DeclareLaunchArgument(
        'bag', description='The rosbag2 to play: its directory or file.')
    yield DeclareLaunchArgument(
        'rate', default_value='1.0',
        description='Speed of the playback; below 1 where a plan takes long.')
    yield DeclareLaunchArgument(
        'start_offset', default_value='0.0',
        description='Seconds of the bag to leave out at its start.')
    yield DeclareLaunchArgument(
        'loop', default_value='false', choices=['true', 'false'],
        description='Play it again and again.')
    yield DeclareLaunchArgument(
        'grace', default_value='5.0',
        description='Seconds until everything ends after the end of the bag.')
    yield DeclareLaunchArgument(
        'rviz', default_value='true', choices=['true', 'false'], description='Start RViz as well.')


def _play(context, share):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    profile = {}
    if not any(variable in os.environ for variable in PROFILE_VARIABLES):
        file = os.path.join(share, 'config', 'fastdds.xml')
        profile = {variable: file for variable in PROFILE_VARIABLES}
    # What a planner published when the bag was recorded would mix with what this one publishes.
    command = ['ros2', 'bag', 'play', value('bag'), '--clock', CLOCK_HZ, '--rate', value('rate'),
               '--start-offset', value('start_offset'), '--disable-keyboard-controls',
               '--exclude-regex', '.*/alpamayo/output/.*']
    if value('loop') == 'true':
        command.append('--loop')
    player = ExecuteProcess(cmd=command, name='bag_player', output='screen',
                            additional_env=profile)
    ends = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[TimerAction(
        period=float(value('grace')), actions=[_end('the bag has ended')])]))
    return [ends, player]


def _end(reason):
    # The planner also ends when everything ends, and a second shutdown would be an error.
    def unless_it_is_the_end(context):
        return [] if context.is_shutdown else [EmitEvent(event=Shutdown(reason=reason))]

    return OpaqueFunction(function=unless_it_is_the_end)


def _is_planner(action):
    return getattr(action, 'node_executable', None) == 'planner'


def generate_launch_description():
    share = get_package_share_directory('alpamayo_ros')

    def included(name, **options):
        return IncludeLaunchDescription(
            PythonLaunchDescriptionSource(os.path.join(share, 'launch', name)),
            launch_arguments={'use_sim_time': 'true'}.items(), **options)

    return LaunchDescription([
        *_arguments(share),
        # Loading takes a while: what would be played in the meantime nobody would plan from.
        RegisterEventHandler(OnStateTransition(
            goal_state='active', handle_once=True,
            entities=[OpaqueFunction(function=_play, args=[share])])),
        RegisterEventHandler(OnStateTransition(
            start_state='configuring', goal_state='unconfigured',
            entities=[_end('the planner could not be configured')])),
        RegisterEventHandler(OnProcessExit(
            target_action=_is_planner, on_exit=[_end('the planner has ended')])),
        included('planner.launch.py'),
        included('view.launch.py', condition=IfCondition(LaunchConfiguration('rviz'))),
    ])
