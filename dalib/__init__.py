"""dalib: domain adaptation and transfer learning in JAX.

Rooms: ``core``, ``discrepancy``, ``data``, ``encoders``, ``methods``, ``tasks``, ``evaluate``, ``transfer``, ``train``,
``report``, ``run``.
Each is imported by its own name (``from dalib import methods``); importing ``dalib`` costs nothing.
"""

__version__ = "0.2.0"
