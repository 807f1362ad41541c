"""A trained method in use: the detector and its file, the score table that it makes, the service.

``explanations`` shows where in a clip its score comes from, ``embeddings`` what a classifier makes of clips.

May import ``data``, ``models``, ``notebook``, ``training`` and ``evaluation``.
"""
