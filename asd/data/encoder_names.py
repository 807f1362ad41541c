"""How encoders from elsewhere are named. Nothing heavy is imported here.

====================================  ================================================================================
``speech``                            the speech embedding of openWakeWord, from the package ``pyopen-wakeword``
``transformers:<folder>``             a model that ``transformers`` loads: AST, or a network of raw waveforms
``torchaudio:<bundle>:<checkpoint>``  a bundle of ``torchaudio.pipelines``, such as ``WAV2VEC2_BASE``
====================================  ================================================================================
"""

from pathlib import Path

from asd import paths
from asd.errors import InputError

KINDS = ("speech", "transformers", "torchaudio")
ALLOWED = "'speech', 'transformers:<folder>' or 'torchaudio:<bundle>:<checkpoint>'"


def is_encoder(name: str) -> bool:
    """Whether a name is that of an encoder, not of a method trained here.

    >>> is_encoder("speech"), is_encoder("transformers:~/ast"), is_encoder("aux")
    (True, True, False)
    """
    return name.partition(":")[0] in KINDS


def check_name(name: str) -> None:
    """Ensure that an encoder's name is complete.

    Raises:
        InputError: it lacks a folder, a bundle or a checkpoint.
    """
    kind, _, place = name.partition(":")
    bundle, _, checkpoint = place.partition(":")
    complete = {"speech": not place, "transformers": bool(place), "torchaudio": bool(bundle and checkpoint)}
    if not complete.get(kind, False):
        raise InputError(f"{name!r} is not the name of an encoder; allowed: {ALLOWED}")


def absolute(name: str) -> str:
    """The encoder's name with an absolute path.

    >>> absolute("speech"), absolute("torchaudio:WAV2VEC2_BASE:/models/../base.pth")
    ('speech', 'torchaudio:WAV2VEC2_BASE:/models/../base.pth')
    """
    check_name(name)
    if name == "speech":
        return name
    *head, path = name.split(":", 1 if name.startswith("transformers") else 2)
    return ":".join([*head, str(paths.absolute(path))])


def short_name(name: str) -> str:
    """A name for score tables.

    >>> short_name("speech"), short_name("transformers:/models/ast 10-10"), short_name("torchaudio:HUBERT_BASE:/h.pth")
    ('speech', 'transformers-ast-10-10', 'torchaudio-HUBERT_BASE')
    """
    kind, _, place = name.partition(":")
    told = {"speech": "", "transformers": Path(place).name, "torchaudio": place.partition(":")[0]}[kind]
    letters = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else "-" for letter in told)
    return f"{kind}-{letters}" if letters else kind
