"""Training the nano checkpoint on the driving world; the planner and the node never import it."""
