"""alpamayo_ros: a reasoning driving model on a vehicle computer, as a ROS 2 node."""

__version__ = '0.1.0'
