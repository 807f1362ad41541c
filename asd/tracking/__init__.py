"""The life of a run: the MLflow store, and how a run is started, resumed, finished and found again.

May import ``data``, ``notebook``, ``training``, ``evaluation`` and ``detection``.
"""
