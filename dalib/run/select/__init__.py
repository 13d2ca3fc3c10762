"""Choosing among finished runs: what a run keeps for it (``kept``), and the choice (``candidates``, ``table``)."""
