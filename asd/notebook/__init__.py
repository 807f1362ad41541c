"""What a notebook needs around its lesson: its parameters, validated, and the data that they name.

``parameters`` defines what is allowed, ``cells`` reads what was given, ``inputs`` opens what it names,
``sounds`` plays it. May import ``data`` and ``demo``.
"""
