"""Players for recordings, side by side, to stand below the pictures of the same clips."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path

from IPython.display import HTML


def players(recordings: Mapping[str, Path], column: int = 460) -> HTML:
    """One player per wav file, side by side, each below its name.

    Args:
        recordings: the wav files by name.
        column: width of a player in pixels; that of the pictures above.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "clip.wav")
        ...     _ = path.write_bytes(b"RIFF")
        ...     players({"a < b": path}, column=300).data.count("<audio controls")
        1
    """
    cells = []
    for name, path in recordings.items():
        sound = base64.b64encode(path.read_bytes()).decode()
        player = f'<audio controls style="width: 100%" src="data:audio/wav;base64,{sound}"></audio>'
        cells.append(f'<div style="flex: 0 1 {column}px; padding: 0 10px">{html.escape(name)}<br>{player}</div>')
    return HTML(f'<div style="display: flex">{"".join(cells)}</div>')
