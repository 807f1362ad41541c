"""What the store knows of the runs whose scores are evaluated."""

from collections.abc import Iterable
from pathlib import Path

from asd.evaluation.tables import RunFacts
from asd.tracking.mlflow_store import known_runs


def run_facts(output_root: Path | str, ids: Iterable[str]) -> dict[str, RunFacts]:
    """Ask the store about runs; those that it does not know, or all where it cannot be asked, are ``RunFacts()``."""
    ids = sorted(set(ids))
    facts = dict.fromkeys(ids, RunFacts())
    for run_id, run in known_runs(Path(output_root), ids).items():
        tags = run.data.tags
        if "complete" in tags:
            debug = tags.get("debug") == "True"
            facts[run_id] = RunFacts(tags.get("settings", "unknown"), debug, run.data.params)
    return facts
