"""What makes two runs the same: a digest of everything that a result depends on, and of the code that computed it."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import asd
from asd.paths import PROJECT


def digest(content: Any) -> str:
    """Sixteen hexadecimal digits that identify any JSON-serialisable content.

    >>> digest({"seed": 0, "n_mels": 128})
    'fd79339a990ae56c'
    >>> digest({"n_mels": 128, "seed": 0}) == digest({"seed": 0, "n_mels": 128})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def identity_digest(identity: dict[str, Any], tags: dict[str, str]) -> str:
    """The digest of a run: of its parameters and data, its method, machine type and name, and the package's version."""
    named = {name: tags[name] for name in ("method", "machine_type", "run_name")}
    return digest(identity | named | {"package": asd.__version__})


def code_digest() -> str:
    """A digest that changes whenever the package's code changes."""
    files = sorted(Path(asd.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def git_revision() -> str:
    """The project's commit, followed by ``+`` if files have changed since; empty outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip() if described.returncode == 0 else ""
