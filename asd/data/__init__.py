"""Recordings and what is computed from them: the clips table, log-mel frames, the store that keeps them.

Data flows from ``clips`` through ``features`` and ``store`` to ``frames``; ``checks`` finds what is odd about a data
set. Imports no other room.
"""
