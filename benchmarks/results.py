"""The picture and the table of results in the README, from what ``beyond.py`` has measured.

    python benchmarks/beyond.py                                                     # hours
    python benchmarks/beyond.py bldc --data ../shared/data/real --results outputs/bench_real
    python benchmarks/results.py --embedded outputs/bench --real outputs/bench_real # benchmarks/results/*.csv
    python benchmarks/results.py                                                    # picture and table again

``benchmarks/results/*.csv`` has the official score of every method, machine type and seed, in percent.
"""

import argparse
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from beyond import BASELINE, interval, official

FOLDER = Path(__file__).parent / "results"
DATA = {"embedded": "embedded data set: 7 machine types", "real": "real recordings: bldc"}
METHODS = {  # name in the results: how it is called in the course
    BASELINE: "mahalanobis",
    "ae": "ae",
    "made": "made",
    "maf": "maf",
    "aux": "aux",
    "ccsa": "ccsa",
    "aux, mahalanobis": "aux-mahalanobis",
    "ccsa, mahalanobis": "ccsa-mahalanobis",
    "angular, mahalanobis": "angular",
    "mean of aux | angular, mahalanobis": "aux + angular",
}
KEY = ["method", "machine_type", "seed"]


def summary(file: Path) -> pd.DataFrame:
    """The official score of source and target domain, and of both, for every method, machine type and seed."""
    rows = pd.read_csv(file)
    rows = rows[~rows["method"].str.startswith("angular ")]  # of the ablation
    scores = {domain: part.groupby(KEY)[["auc", "pauc"]].apply(official) for domain, part in rows.groupby("domain")}
    scores["both"] = rows.groupby(KEY)[["auc", "pauc"]].apply(official)
    return pd.DataFrame(scores)[["source", "target", "both"]].round(4).reset_index()


def picture(results: dict[str, pd.DataFrame], file: Path) -> None:
    """The official score of every method: a dot for each machine type and seed, their mean and its 95% interval."""
    matplotlib.use("Agg")
    figure, axes = plt.subplots(1, len(results), figsize=(10, 3.6), sharey=True, layout="constrained")
    for ax, (name, table) in zip(np.atleast_1d(axes), results.items(), strict=True):
        for row, method in enumerate(reversed(METHODS)):
            values = table.loc[table["method"] == method, "both"]
            color = "0.45" if method == BASELINE else "tab:blue"
            ax.plot(values, np.full(len(values), row), "o", color=color, alpha=0.25, markersize=4, markeredgewidth=0)
            ax.plot(interval(values), [row, row], color=color, linewidth=2)
            ax.plot(values.mean(), row, "o", color=color, markersize=7)
            ax.annotate(f"{values.mean():.1f}", (values.mean(), row), (0, 6), textcoords="offset points", ha="center")
        ax.axvline(50, color="0.8", zorder=0)
        ax.set(title=DATA[name], xlabel="official score in percent (50: guessing)", ylim=(-0.6, len(METHODS) - 0.2))
        ax.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(axes)[0].set_yticks(range(len(METHODS)), reversed(METHODS.values()))
    figure.savefig(file, dpi=110)


def markdown(results: dict[str, pd.DataFrame]) -> str:
    """Mean over seeds, in percent: a row for every method, a column for every machine type."""
    embedded = results["embedded"]
    types = list(dict.fromkeys(embedded["machine_type"]))
    means = embedded.groupby(["method", "machine_type"])["both"].mean().unstack()
    overall = embedded.groupby("method")[["source", "target", "both"]].mean()
    real = results["real"].groupby("method")["both"].agg(["mean", "std"])
    columns = ["method", *types, "source", "target", "**both**", "bldc"]
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---|" * (len(columns) - 1)]
    for method, name in METHODS.items():
        cells = [*means.loc[method, types], *overall.loc[method, ["source", "target"]]]
        texts = [f"{value:.1f}" for value in cells] + [f"**{overall.loc[method, 'both']:.1f}**"]
        texts += [f"{real.loc[method, 'mean']:.1f} ± {real.loc[method, 'std']:.1f}"]
        lines.append("| " + " | ".join([f"`{name}`", *texts]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Picture and table of results")
    for name in DATA:
        parser.add_argument(f"--{name}", type=Path, help=f"folder with beyond.csv of the {name} data")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name in DATA:
        if getattr(args, name):
            summary(getattr(args, name) / "beyond.csv").to_csv(FOLDER / f"{name}.csv", index=False)
    results = {name: pd.read_csv(FOLDER / f"{name}.csv") for name in DATA}
    picture(results, FOLDER / "results.png")
    print(markdown(results))


if __name__ == "__main__":
    main()
