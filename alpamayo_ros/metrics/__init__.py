"""Figures about plans, defined in docs/metrics.md: numpy only, nothing of the planner or ROS."""
