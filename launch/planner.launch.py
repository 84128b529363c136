"""The planner on a vehicle or beside a bag: ``ros2 launch alpamayo_ros planner.launch.py``.

``--show-args`` lists the arguments. What is given here wins over the parameter file.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterFile

from launch import LaunchDescription

CAMERAS = ('cross_left', 'front_wide', 'cross_right', 'rear_left', 'rear_tele', 'rear_right',
           'front_tele')
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def _arguments(share):
    yield DeclareLaunchArgument(
        'checkpoint', default_value='',
        description='Directory of the checkpoint; empty takes the one in params_file.')
    yield DeclareLaunchArgument(
        'params_file', default_value=os.path.join(share, 'config', 'planner.yaml'),
        description='Parameter file of the node.')
    yield DeclareLaunchArgument(
        'device', default_value='',
        description='Device of the model: cpu, cuda or cuda:N; empty takes the one in params_file.')
    yield DeclareLaunchArgument(
        'dtype', default_value='', choices=['', 'float32', 'bfloat16', 'float16'],
        description='Type the model computes in; empty takes the one in params_file.')
    yield DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of the node.')
    yield DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=['true', 'false'],
        description='Take the time from /clock; true when a bag is played.')
    yield DeclareLaunchArgument(
        'image_transport', default_value='', choices=['', 'compressed', 'raw'],
        description='Kind of the image topics; empty takes the one in params_file.')
    for camera in CAMERAS:
        yield DeclareLaunchArgument(
            f'{camera}_topic', default_value='',
            description=f'Topic of the camera {camera}; empty leaves ~/input/{camera}/image, with '
                        '/compressed appended when images are compressed.')
    yield DeclareLaunchArgument(
        'odometry_topic', default_value='',
        description='Topic of the odometry; empty leaves ~/input/odometry.')
    yield DeclareLaunchArgument(
        'navigation_topic', default_value='',
        description='Topic of the navigation instruction; empty leaves ~/input/navigation.')
    yield DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Log level of the node.')
    yield DeclareLaunchArgument(
        'respawn', default_value='false', choices=['true', 'false'],
        description='Start the node again when its process ends.')


def _remappings(value):
    for camera in CAMERAS:
        topic = value(f'{camera}_topic')
        if topic:
            # One of the two exists, depending on image_transport.
            yield f'~/input/{camera}/image', topic
            yield f'~/input/{camera}/image/compressed', topic
    for name in ('odometry', 'navigation'):
        topic = value(f'{name}_topic')
        if topic:
            yield f'~/input/{name}', topic


def _node(context, share):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    parameters = {'use_sim_time': value('use_sim_time') == 'true'}
    for name in ('checkpoint', 'device', 'dtype', 'image_transport'):
        if value(name):
            parameters[name] = value(name)
    profile = {}
    if not any(variable in os.environ for variable in PROFILE_VARIABLES):
        file = os.path.join(share, 'config', 'fastdds.xml')
        profile = {variable: file for variable in PROFILE_VARIABLES}
    logger = '.'.join([*value('namespace').strip('/').split('/'), 'alpamayo']).lstrip('.')
    return [LifecycleNode(
        package='alpamayo_ros', executable='planner', name='alpamayo',
        namespace=value('namespace'), output='screen', emulate_tty=True,
        parameters=[ParameterFile(value('params_file'), allow_substs=True), parameters],
        remappings=list(_remappings(value)), additional_env=profile,
        arguments=['--ros-args', '--log-level', f'{logger}:={value("log_level")}'],
        respawn=value('respawn') == 'true', respawn_delay=2.0,
        # The node leaves 4 s after a signal at the latest; unloading its libraries comes on top.
        sigterm_timeout='10')]


def generate_launch_description():
    share = get_package_share_directory('alpamayo_ros')
    return LaunchDescription([
        *_arguments(share), OpaqueFunction(function=_node, args=[share])])
