"""The one exception for what a user can fix: a file, a parameter, a folder.

Its message names the thing, what was found and what is allowed. The command line prints it without a traceback.
"""


class InputError(ValueError):
    """Bad input: the message says which file or parameter, what was found there, and what is allowed."""
