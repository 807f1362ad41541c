"""Is a stated false-alarm rate kept? Over all machine types, methods and seeds of an output root.

It reads the score tables below ``<output root>/scores`` and trains nothing. A cell is a machine type, run (method and
seed) and section. In how many of them do the false alarms among source test clips lie within the 95% interval that
split conformal prediction gives for so many held-out and test clips (beta-binomial)? Beside it the challenge's gamma
rule, and what becomes of the rate in the target domain, where nothing is promised.

    python benchmarks/calibration.py                                    # outputs/
    python benchmarks/calibration.py DIR --false-alarm-rate 0.05 --by method machine_type
"""

import argparse
from pathlib import Path

import pandas as pd

from asd.errors import InputError
from asd.evaluation.promises import CONFORMAL, broken_promises, realised, summary
from asd.evaluation.results import add_decisions
from asd.evaluation.score_table import read_table
from asd.evaluation.tables import Tables
from asd.paths import default_output_root


def score_tables(output_root: Path) -> Tables:
    """All runs' score tables, by run name and machine type; those that cannot be used are named."""
    tables = {}
    for path in sorted((output_root / "scores").glob("*/*.csv")):
        try:
            tables[f"{path.parent.name}/{path.stem}"] = read_table(path).assign(run_name=path.stem)
        except InputError as error:
            print(f"left out: {error}")
    return tables


def cells_of(tables: Tables, false_alarm_rate: float, held_out: bool) -> pd.DataFrame:
    """The cells of all runs, see :func:`asd.evaluation.promises.realised`."""
    parts = []
    for name, table in tables.items():
        try:
            decided, limits, notes = add_decisions({name: table}, false_alarm_rate, 1 - false_alarm_rate, held_out)
        except InputError as error:
            print(f"left out: {name}: {error}")
            continue
        for note in notes:
            if "cannot be had" in note or "no scores of held-out" in note:
                print(note)
        parts.append(realised(decided, limits, false_alarm_rate))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="stated and realised false-alarm rates")
    parser.add_argument("output_root", nargs="?", type=Path, default=default_output_root())
    parser.add_argument("--false-alarm-rate", type=float, default=0.1)
    parser.add_argument("--by", nargs="*", default=["method"], help="columns: method, machine_type, run_name, section")
    parser.add_argument("--held-out", action="store_true", help="gamma thresholds from held-out clips, not from all")
    args = parser.parse_args()
    tables = score_tables(args.output_root)
    if not tables:
        raise SystemExit(f"no score tables in {args.output_root / 'scores'}")
    cells = cells_of(tables, args.false_alarm_rate, args.held_out)
    n_held_out = sorted({int(table["held_out"].astype(bool).sum()) for table in tables.values()})
    print(f"{len(tables)} runs, {n_held_out[0]} to {n_held_out[-1]} held-out clips; stated {args.false_alarm_rate:g}")
    columns = {"cells": "cells", "kept": "cells within the interval", "rate": "false alarms", "rate_low": "from"}
    columns |= {"rate_high": "to", "recall": "anomalies found"}
    for by in ([], args.by):
        table = summary(cells, ["domain", "rule", *by]).sort_values(["domain", *by], kind="stable")
        table["kept"] = table["kept"].where(table["domain"] == "source")
        shown = table[["domain", "rule", *by, *columns]].rename(columns=columns)
        print(f"\n{shown.to_string(index=False, float_format='{:.3f}'.format, na_rep='')}")
    source = cells[(cells["domain"] == "source") & (cells["rule"] == CONFORMAL)]
    print(f"\nstated rate attainable in {source['attainable'].mean():.0%} of {len(source)} cells")
    print("\n".join(["", *broken_promises(cells, args.false_alarm_rate)]))


if __name__ == "__main__":
    main()
