"""A trained method in use: the detector and its file, the score table that it makes, the service.

May import ``data``, ``models``, ``notebook``, ``training`` and ``evaluation``.
"""
