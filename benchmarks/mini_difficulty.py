"""How hard the embedded data set is: AUC of a small classifier and of the autoencoder in every cell.

A data set to learn on must be neither hopeless nor perfect: of the cells (machine type × section × domain) at least 80%
of the source and 65% of the target ones shall have an AUC between 0.55 and 0.97 by either method, and the target domain
be the harder one. The severities in ``asd/demo/machines.py`` were set by this table. It draws far more test clips than
the data set has, since 16 + 16 say little about an AUC.

    python benchmarks/mini_difficulty.py                 # all machine types, about 15 minutes
    python benchmarks/mini_difficulty.py fan --seed 1    # another draw of clips and weights

Training: 24 clips a section. Classifier: with the defaults of 03_aux. Autoencoder: of the reference's size, windows of
5 frames, 20 epochs, batch 512, lr 1e-3.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from ccsa_ablation import notebook_defaults
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import one_hot

from asd.data.features import FeatureSettings, as_float, log_mel
from asd.demo.dataset import MACHINE_TYPES, SECTIONS, Clip, sound
from asd.models.autoencoder import Autoencoder
from asd.models.classifier import SectionClassifier
from asd.training.batches import SectionBatch
from asd.training.loop import Optimisation, fit
from asd.training.losses import classification, uniform_cross_entropy

RANGE = (0.55, 0.97)
WINDOW = 5  # frames


def log_mels(clips: list[Clip], seed: int) -> Tensor:
    """Log-mels of clips of 2 s: (clips, frames, 128)."""
    with ThreadPoolExecutor(2) as pool:
        frames = pool.map(lambda clip: log_mel(as_float(sound(clip, 2.0, seed)[0]), FeatureSettings()), clips)
        return torch.stack(list(frames))


def train_clips(machine_type: str) -> list[Clip]:
    return [Clip(machine_type, section, "source", "train", 0, i) for section in SECTIONS for i in range(24)]


def classifier_scores(train: Tensor, outliers: Tensor, test: Tensor, section: Tensor) -> np.ndarray:
    """Train on source clips, 24 a section in their order; log odds of test clips against their section: (clips,)."""
    p = SimpleNamespace(**notebook_defaults("03_aux"))
    model = SectionClassifier(6, 128, p.normalize, p.rho_f, p.rho_t, p.base_channels)
    model.normalization.set(train.mean((0, 1)), train.std((0, 1)))
    target = torch.arange(len(train)) // 24

    def batches(epoch: int) -> Iterator[SectionBatch]:
        for clip in torch.randperm(len(train)).split(p.batch_size):
            proxies = outliers[torch.randint(len(outliers), clip.shape)]
            yield SectionBatch(torch.cat([train[clip], proxies]), one_hot(target[clip], 6).float(), len(clip))

    def objective(model: torch.nn.Module, batch: SectionBatch) -> dict[str, Tensor]:
        logits, n = model(batch.frames), len(batch.section)
        outliers = uniform_cross_entropy(logits[n:]).mean()
        return {"loss": classification(logits[:n], batch.section).mean() + p.proxy_outlier_lambda * outliers}

    schedule = Optimisation(**{field.name: getattr(p, field.name) for field in fields(Optimisation)})
    for _ in fit(model, batches, objective, schedule, steps=-(-len(train) // p.batch_size)):
        pass
    model.eval()
    with torch.no_grad():
        some = zip(test.split(100), section.split(100), strict=True)
        return torch.cat([model.anomaly_score(frames, own) for frames, own in some]).numpy()


def autoencoder_scores(train: Tensor, test: Tensor, section: Tensor) -> np.ndarray:
    """Train on source clips, 24 a section in their order; mean squared error of test clips' windows: (clips,)."""
    mean, std = train.mean((0, 1)), train.std((0, 1))
    train, test = (train - mean) / std, (test - mean) / std
    model = Autoencoder(WINDOW * 128, 6)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    model.train()
    for _ in range(20):
        clip = torch.randperm(len(train) * 11) % len(train)  # 11 windows of 0.192 s fill a clip
        for batch in clip.split(512):
            start = torch.randint(train.shape[1] - WINDOW + 1, batch.shape)
            windows = train[batch[:, None], start[:, None] + torch.arange(WINDOW)].flatten(1)
            loss = -model.log_prob(windows, one_hot(batch // 24, 6).float()).mean() / windows.shape[1]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    scores = []
    with torch.no_grad():
        for clip, its_section in zip(test, section, strict=True):
            windows = clip.unfold(0, WINDOW, 1).transpose(1, 2).flatten(1)  # frame-major
            condition = one_hot(its_section, 6).float().expand(len(windows), -1)
            scores.append(-float(model.log_prob(windows, condition).mean()))
    return np.array(scores)


def difficulty(machine_type: str, outliers: dict[str, Tensor], test: int, seed: int) -> pd.DataFrame:
    """Scores of all test clips of a machine type: section, domain, label, classifier, autoencoder."""
    torch.manual_seed(seed)
    clips = [
        Clip(machine_type, section, domain, "test", label, i)
        for section in SECTIONS
        for domain in ("source", "target")
        for label in (0, 1)
        for i in range(test)
    ]
    table = pd.DataFrame([(c.section, c.domain, c.label) for c in clips], columns=["section", "domain", "label"])
    frames, section = log_mels(clips, seed), torch.tensor([clip.section for clip in clips])
    train = outliers[machine_type]
    proxies = torch.cat([frames for name, frames in outliers.items() if name != machine_type])
    table["classifier"] = classifier_scores(train, proxies, frames, section)
    table["autoencoder"] = autoencoder_scores(train, frames, section)
    return table


def areas(table: pd.DataFrame) -> pd.DataFrame:
    """AUC: a row for each method and domain, a column for each section."""
    rows = {
        (method, domain): {
            section: roc_auc_score(clips["label"], clips[method]) for section, clips in some.groupby("section")
        }
        for method in ("classifier", "autoencoder")
        for domain, some in table.groupby("domain")
    }
    return pd.DataFrame(rows).T


def main() -> None:
    parser = argparse.ArgumentParser(description="AUC in every cell of the embedded data set")
    parser.add_argument("machine_types", nargs="*", default=MACHINE_TYPES)
    parser.add_argument("--test", type=int, default=100, help="normal, and anomalous, test clips a cell")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train = {name: log_mels(train_clips(name), args.seed) for name in MACHINE_TYPES}
    for name in args.machine_types:
        auc = areas(difficulty(name, train, args.test, args.seed))
        inside = ((auc >= RANGE[0]) & (auc <= RANGE[1])).mean(axis=1)
        shown = auc.assign(mean=auc.mean(axis=1)).map("{:.2f}".format).assign(inside=inside.map("{:.0%}".format))
        print(f"\n{name}\n{shown.to_string()}", flush=True)


if __name__ == "__main__":
    main()
