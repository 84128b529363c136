"""RViz beside a running planner: ``ros2 launch alpamayo_ros view.launch.py``.

``--show-args`` lists the arguments. Those about topics are the ones of ``planner.launch.py``: give
the same values.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

CAMERAS = ('cross_left', 'front_wide', 'cross_right', 'rear_left', 'rear_tele', 'rear_right',
           'front_tele')
OUTPUTS = ('candidate_paths', 'path', 'markers', 'overlay/compressed')
# What the topics in the configuration begin with.
PREFIX = '/alpamayo'


def _arguments(share):
    yield DeclareLaunchArgument(
        'rviz_config', default_value=os.path.join(share, 'config', 'alpamayo.rviz'),
        description='Configuration of RViz.')
    yield DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of the planner.')
    yield DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=['true', 'false'],
        description='Take the time from /clock; true when a bag is played.')
    for camera in CAMERAS:
        yield DeclareLaunchArgument(
            f'{camera}_topic', default_value='',
            description=f'Topic of the compressed images of the camera {camera}; empty for the '
                        'one of the planner.')
    yield DeclareLaunchArgument(
        'odometry_topic', default_value='',
        description='Topic of the odometry; empty for the one of the planner.')


def _remappings(value):
    namespace = value('namespace').strip('/')
    start = f'/{namespace}/' if namespace else '/'

    def remapped(name, topic):
        # A relative name is one in the planner's namespace; RViz itself is in none.
        target = topic or f'{start}{PREFIX[1:]}/{name}'
        if not target.startswith('/'):
            target = start + target
        return f'{PREFIX}/{name}', target

    pairs = [remapped(f'input/{camera}/image/compressed', value(f'{camera}_topic'))
             for camera in CAMERAS]
    pairs.append(remapped('input/odometry', value('odometry_topic')))
    pairs += [remapped(f'output/{name}', '') for name in OUTPUTS]
    return [(name, target) for name, target in pairs if name != target]


def _rviz(context):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    return [Node(
        package='rviz2', executable='rviz2', name='rviz', output='screen',
        arguments=['-d', value('rviz_config')], remappings=_remappings(value),
        parameters=[{'use_sim_time': value('use_sim_time') == 'true'}])]


def generate_launch_description():
    share = get_package_share_directory('alpamayo_ros')
    return LaunchDescription([*_arguments(share), OpaqueFunction(function=_rviz)])
