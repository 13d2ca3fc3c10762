"""The engine: from a description of runs to their records. ``cli`` is the command ``dalib``."""
