"""The driving world that the nano checkpoint learns in: scenes, a rule-based driver, cameras.

The planner and the node never import it.
"""
