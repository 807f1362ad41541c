"""The figures, one module per subject; ``common`` defines the look that they share.

May import ``data``, ``models``, ``training`` and ``evaluation``.
"""
