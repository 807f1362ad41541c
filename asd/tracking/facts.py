"""What the store knows about the runs whose scores are evaluated."""

import re
from collections.abc import Iterable
from pathlib import Path

from asd.evaluation.tables import RunFacts
from asd.tracking.mlflow_store import known_runs

RUN_ID = re.compile("[0-9a-f]{32}")  # MLflow's


def run_facts(output_root: Path | str, ids: Iterable[str]) -> dict[str, RunFacts]:
    """Query the store about runs, and those that they start from (whose ids are among their parameters).

    Returns:
        Facts by run id; unknown runs, or all if the store cannot be queried, are ``RunFacts()``.
    """
    facts: dict[str, RunFacts] = {}
    while ids := sorted(set(ids) - set(facts)):
        facts |= dict.fromkeys(ids, RunFacts())
        for run_id, run in known_runs(Path(output_root), ids).items():
            tags = run.data.tags
            if "complete" in tags:
                debug = tags.get("debug") == "True"
                facts[run_id] = RunFacts(tags.get("settings", "unknown"), debug, run.data.params)
        ids = [value for run_id in ids for value in facts[run_id].parameters.values() if RUN_ID.fullmatch(value)]
    return facts
