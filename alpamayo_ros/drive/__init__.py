"""Recorded drives: making, playing and recording them, and the demo that shows one planned."""
