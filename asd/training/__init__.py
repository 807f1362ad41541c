"""From frames to a trained model: clips, batches, losses, and the one training loop.

``data`` chooses the clips, ``batches`` draws from them, ``losses``, ``ccsa`` and ``adaptation`` define what is
minimised, ``loop`` minimises it, ``validation`` measures progress on held-out clips. May import ``data``, ``models``
and ``notebook``.
"""
