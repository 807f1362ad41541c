"""The figures, one module per subject; ``common`` has the look that they share.

May import ``data``, ``training`` and ``evaluation``.
"""
