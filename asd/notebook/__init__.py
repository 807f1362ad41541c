"""What a notebook needs around its lesson: its parameters, checked, and what they name.

``parameters`` says what is allowed, ``cells`` reads what was given, ``inputs`` opens what it names. May import ``data``
and ``demo``.
"""
