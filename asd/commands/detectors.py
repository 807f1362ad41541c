"""What the argument DETECTOR of a command stands for."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asd.detection.detector import Detector


def trained_detector(name: str, output_root: Path | None) -> "Detector":
    """The detector of a file, of a run id, or of ``<machine type>/<run name>``.

    Args:
        name: which one.
        output_root: folder of score tables and, by default, of the store; None: the default one.

    Raises:
        InputError: there is none, see :func:`asd.tracking.named.find_run`, or the file is no detector.
    """
    return detector_and_run(name, output_root)[0]


def detector_and_run(name: str, output_root: Path | None) -> "tuple[Detector, str]":
    """The same, and the id of its run; empty for a file, which does not say where it comes from."""
    from asd.paths import absolute, default_output_root

    if Path(name).is_file() or name.endswith(".pt"):
        from asd.detection.detector import load_detector

        return load_detector(name), ""
    from asd.tracking.named import detector_of, find_run  # imports MLflow, for which a file need not wait

    root = absolute(output_root or default_output_root())
    run = find_run(name, root)
    return detector_of(run, root), run.run_id
