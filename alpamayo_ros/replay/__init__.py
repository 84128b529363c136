"""Recorded drives through the planner, instant by instant, without a running ROS."""
