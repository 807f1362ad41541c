"""What the store knows about the runs whose scores are evaluated."""

from collections.abc import Iterable
from pathlib import Path

from asd.evaluation.tables import RunFacts
from asd.tracking.mlflow_store import known_runs


def run_facts(output_root: Path | str, ids: Iterable[str]) -> dict[str, RunFacts]:
    """Query the store about runs; unknown runs, or all if it cannot be queried, are ``RunFacts()``."""
    ids = sorted(set(ids))
    facts = dict.fromkeys(ids, RunFacts())
    for run_id, run in known_runs(Path(output_root), ids).items():
        tags = run.data.tags
        if "complete" in tags:
            debug = tags.get("debug") == "True"
            facts[run_id] = RunFacts(tags.get("settings", "unknown"), debug, run.data.params)
    return facts
