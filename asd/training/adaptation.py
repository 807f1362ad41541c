"""Fine-tuning to the target domain: the terms of its loss, the clips that it draws, and embeddings to look at."""

import pandas as pd
import torch
from torch import Tensor

from asd.data.frames import LabelledFrames
from asd.errors import InputError
from asd.models.classifier import SectionClassifier
from asd.training.batches import SectionBatch, seeded
from asd.training.ccsa import ccsa, mean_squared_differences
from asd.training.data import TrainingData
from asd.training.losses import classification, uniform_cross_entropy

PER_SECTION = 16  # clips of each section whose embeddings are looked at
AT_ONCE = 16  # clips that are embedded together
PAIRS = ("same section", "different sections")


def adaptation_terms(model: SectionClassifier, batch: SectionBatch, margin: float) -> tuple[dict[str, Tensor], Tensor]:
    """All terms that the loss may be composed of, unweighted, and the embedding, in one forward pass.

    Args:
        model: the classifier.
        batch: source and target clips, and proxy outliers or none.
        margin: of :func:`asd.training.ccsa.ccsa`.

    Returns:
        The terms, scalars: ``source`` and ``target``, cross entropy of the source and target clips; ``semantic`` and
        ``contrastive``, see :func:`asd.training.ccsa.ccsa`, in float32 whatever the autocast; ``outliers``, cross
        entropy of the proxy outliers with the uniform distribution, if the batch has any. And the embedding of the
        whole batch, (B, C, F', T').
    """
    embedding = model.embed(batch.frames)
    logits = model.network.classify(embedding)
    n, m = batch.n_source, len(batch.section)
    section = batch.section.argmax(dim=1)
    semantic, contrastive = ccsa(embedding[:n].float(), embedding[n:m].float(), section[:n], section[n:], margin)
    terms = {
        "source": classification(logits[:n], batch.section[:n]).mean(),
        "target": classification(logits[n:m], batch.section[n:]).mean(),
        "semantic": semantic,
        "contrastive": contrastive,
    }
    if len(logits) > m:
        terms["outliers"] = uniform_cross_entropy(logits[m:]).mean()
    return terms, embedding


def gradient_norms(parts: dict[str, Tensor], embedding: Tensor) -> dict[str, Tensor]:
    """How strongly each part of the loss pulls at the embedding: the norm of its gradient, as ``gradient_<name>``."""
    norms = {}
    for name, part in parts.items():
        (gradient,) = torch.autograd.grad(part, embedding, retain_graph=True)
        norms[f"gradient_{name}"] = gradient.float().norm()
    return norms


def adaptation_clips(data: TrainingData, kind: str, seed: int) -> LabelledFrames:
    """The labelled clips that are drawn beside the source clips.

    Args:
        data: what the training draws from.
        kind: ``target``: the target train clips; ``source``, as a control: as many source train clips of each section
            instead.
        seed: determines the choice of these.

    Raises:
        InputError: the machine type has no target train clips.
    """
    train = data.clips[(data.clips["split"] == "train") & ~data.is_held_out]
    target = train[train["domain"] == "target"]
    if data.target is None:
        raise InputError(
            f"machine_type: {data.shard.machine_type} has no target train clips in sections {data.sections}, which"
            " domain adaptation needs; the classifier of 03_aux is the best that can be had here"
        )
    if kind == "target":
        return data.target
    chosen = []
    for section, section_clips in target.groupby("section"):
        source = train[(train["domain"] != "target") & (train["section"] == section)]
        order = torch.randperm(len(source), generator=seeded(seed, "in the target clips' place", section))
        chosen.append(source.iloc[order[: len(section_clips)].numpy()])
    return data.labelled(pd.concat(chosen))


@torch.no_grad()
def embeddings(
    model: SectionClassifier, labelled: LabelledFrames, n_frames: int, pooled: bool
) -> tuple[Tensor, Tensor]:
    """Embed the first ``n_frames`` frames of at most ``PER_SECTION`` clips of each section.

    Args:
        model: in evaluation mode.
        labelled: the clips.
        n_frames: how much of each clip is embedded.
        pooled: whether to average the embedding over frequency and time.

    Returns:
        The embeddings, (N, C) if pooled, else (N, C, F', T'), and the index of each clip's section, (N,).
    """
    frames, section = labelled.frames, labelled.section
    rows = torch.cat([(section == s).nonzero().flatten()[:PER_SECTION] for s in section.unique()])
    chunks = []
    for chunk in rows.split(AT_ONCE):
        embedding = model.embed(frames.crop(chunk, torch.zeros_like(chunk), n_frames)).float()
        chunks.append(embedding.mean(dim=(2, 3)) if pooled else embedding)
    return torch.cat(chunks), section[rows]


def pair_distances(
    model: SectionClassifier, source: LabelledFrames, target: LabelledFrames, n_frames: int
) -> pd.DataFrame:
    """The distances that CCSA works on, as they are in ``model``.

    Args:
        model: in evaluation mode.
        source, target: the clips.
        n_frames: how much of each clip is embedded.

    Returns:
        One row per pair of a source and a target clip: ``distance``, the root mean square difference of their
        embeddings, and ``pair``, "same section" or "different sections".
    """
    source_embedding, source_section = embeddings(model, source, n_frames, pooled=False)
    target_embedding, target_section = embeddings(model, target, n_frames, pooled=False)
    distance = mean_squared_differences(source_embedding, target_embedding).sqrt().flatten().tolist()
    is_same = (source_section.unsqueeze(1) == target_section).flatten().tolist()
    return pd.DataFrame({"distance": distance, "pair": [PAIRS[0] if same else PAIRS[1] for same in is_same]})
