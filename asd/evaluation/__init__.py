"""From score tables to what can be said about them: metrics, intervals, decisions, ensembles.

Functions of arrays and tables; they know no model and no recording. May import ``data``.
"""
