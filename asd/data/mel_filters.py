"""torchaudio's mel filters, imported in a way that also works with a CPU-only torch.

The wheel of torchaudio 2.11 links CUDA libraries, and ``import torchaudio`` loads them at once: with a CPU-only torch
it raises an ``OSError`` about ``libc10_cuda.so``. The mel filters are pure Python and need none of this, so where torch
has no CUDA, an empty module takes the place of the one that loads the libraries, ``torchaudio._extension``.
"""

import sys
import types
from typing import Any

import torch

if torch.version.cuda is None and "torchaudio" not in sys.modules:
    stand_in: Any = types.ModuleType("torchaudio._extension")
    stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False
    stand_in.fail_if_no_align = lambda function: function  # a decorator, applied while torchaudio is imported
    sys.modules["torchaudio._extension"] = stand_in

from torchaudio.functional import melscale_fbanks

__all__ = ["melscale_fbanks"]
