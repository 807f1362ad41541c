"""The one exception for what a user can fix: a file, a parameter, a folder, a package that is not installed.

Its message names the thing, what was found and what is allowed. The command line prints it without a traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: the message says which file or parameter, what was found there, and what is allowed."""


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around imports of packages that only an optional extra installs: one that is missing is an error that names it.

    Raises:
        InputError: a package is not installed; says how to install it.

    >>> with needs_extra("tracking"):  # doctest: +ELLIPSIS
    ...     import no_such_package
    Traceback (most recent call last):
    asd.errors.InputError: no_such_package is not installed; in the project's folder, install it with: pip install ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; in the project's folder, install it with:"
            f" pip install --constraint constraints.txt --editable '.[{extra}]'"
        ) from error
