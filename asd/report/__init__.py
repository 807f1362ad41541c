"""What is handed on: results so far, the leaderboard, and one HTML file with pictures and sounds.

May import ``data``, ``demo``, ``evaluation`` and ``plots``.
"""
