"""How well a checkpoint drives in the rendered driving world. The planner never imports it."""
