"""From frames to a trained model: batches, losses, and the one training loop.

``data`` chooses the clips, ``batches`` draws from them, ``losses`` and ``ccsa`` say what is minimised, ``loop``
minimises it. May import ``data``, ``models`` and ``notebook``.
"""
