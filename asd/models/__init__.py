"""The networks: plain torch modules that know nothing of files, machine types or MLflow.

``classifier``, ``density`` and ``embedding`` are the kinds of model that a detector can hold. Imports no other room.
"""
