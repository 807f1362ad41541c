"""Open files that torch has written, without ever running code that stands in them."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from asd.errors import InputError

# what the reader of pickles stumbles over in files of another kind, a wav file for one
NOT_OURS: tuple[type[Exception], ...] = (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError)
NOT_OURS += (AttributeError, AssertionError, struct.error, zipfile.BadZipFile)


def load_weights(path: Path | str) -> Any:
    """Read numbers and texts that ``torch.save`` has written, onto the CPU.

    Raises:
        InputError: no such file, cut short, something else, or with code inside; in no case is code of it run.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: not opened: it holds other things than numbers and texts, code perhaps") from error
    except NOT_OURS as error:
        raise InputError(f"{path}: cannot be read: cut short, or another kind of file ({error})") from error
