"""Measuring the planner on the machine at hand."""
