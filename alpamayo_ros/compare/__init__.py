"""Two replays of one drive against each other: paired statistics, thresholds, a page."""
