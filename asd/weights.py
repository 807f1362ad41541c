"""Opening files written by ``torch.save`` without ever running code that they contain."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from asd.errors import InputError

# what unpickling raises for files of another kind, such as a wav file
NOT_OURS: tuple[type[Exception], ...] = (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError)
NOT_OURS += (AttributeError, AssertionError, struct.error, zipfile.BadZipFile)


def load_weights(path: Path | str) -> Any:
    """Read tensors, numbers and text that ``torch.save`` has written, onto the CPU.

    Raises:
        InputError: the file is missing, cut short, of another kind, or contains code, which is never run.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: not opened: it holds more than tensors, numbers and text, perhaps code") from error
    except NOT_OURS as error:
        raise InputError(f"{path}: cannot be read: cut short, or another kind of file ({error})") from error
