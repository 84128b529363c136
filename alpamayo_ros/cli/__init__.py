"""The command line tools: ``alpamayo COMMAND`` and the ``planner`` executable."""
