"""``asd score --explain``: pictures of where in time and frequency recordings are anomalous."""

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asd.commands.output import in_a_title, say

if TYPE_CHECKING:
    from asd.detection.detector import Decision, Detector
    from asd.detection.recordings import Section


def picture_paths(recordings: list[Path], target: Path) -> list[Path]:
    """Where each recording's picture is written: ``target`` is a file for one, a folder for several.

    Recordings of the same name in different folders get numbers.

    >>> [path.name for path in picture_paths([Path("a/1.wav"), Path("b/1.wav"), Path("b/1-2.wav")], Path("pictures"))]
    ['1.png', '1-2.png', '1-2-2.png']

    Raises:
        click.UsageError: several recordings, and a file's name.
    """
    if len(recordings) == 1 and target.suffix and not target.is_dir():
        return [target]
    if target.suffix and not target.is_dir():
        raise click.UsageError(
            f"--explain {target}: {len(recordings)} recordings have as many pictures: name a folder for them"
        )
    names: dict[str, None] = {}  # in the order of the recordings
    for recording in recordings:
        numbered = (f"{recording.stem}-{number}" if number > 1 else recording.stem for number in count(1))
        names[next(name for name in numbered if name not in names)] = None
    return [target / f"{name}.png" for name in names]


def draw_explanations(
    detector: "Detector", done: list[tuple[Path, "Decision", "Section"]], recordings: list[Path], target: Path
) -> None:
    """Write the pictures of the recordings that have been scored, and say where they are."""
    import matplotlib

    matplotlib.use("agg")
    from asd.plots.common import set_style

    set_style()
    pictures = dict(zip(recordings, picture_paths(recordings, target), strict=True))
    if not detector.baseline:
        say("this detector knows no normal frames (an earlier version made it): a recording is compared with itself")
    for path, decision, section in done:
        draw_explanation(detector, path, decision, section.number, pictures[path])
    if done:
        say(f"{target}: {len(done)} picture{'s' if len(done) > 1 else ''}, red where a recording is anomalous")


def draw_explanation(detector: "Detector", path: Path, decision: "Decision", section: int, picture: Path) -> None:
    """Write the picture of one recording: its spectrogram, its explanation, and the score of its snippets over time."""
    import matplotlib.pyplot as plt
    import numpy as np

    from asd.data.recordings import read_recording
    from asd.detection.explanations import explain
    from asd.files import replacing
    from asd.plots.explanations import Explained, explanation_picture

    features = detector.log_mel_settings("an explanation")
    frames = detector.frames(read_recording(path, features.sample_rate))
    scores = detector.window_scores(frames, section).numpy()
    middle = np.arange(len(scores)) * detector.hop + min(detector.n_frames, len(frames)) / 2
    title = f"{in_a_title(click.format_filename(path.name))}: section {section:02}, score {decision.score:.3g}"
    if not np.isnan(decision.p_value):
        title += f", p-value {decision.p_value:.2g}"
    over_time = (middle * features.hop_length / features.sample_rate, scores) if len(scores) > 1 else None
    shown = Explained(title, frames.numpy(), explain(detector, frames, section)[: len(frames)], over_time=over_time)
    figure = explanation_picture([shown], features, width=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=130, format=picture.suffix[1:] or "png")
    plt.close(figure)
