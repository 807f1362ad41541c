"""What fine-tuning to the target domain is made of and looked at with: its loss's terms, its clips, the embeddings."""

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

PER_SECTION = 16  # clips whose embeddings are looked at
AT_ONCE = 16  # clips that are embedded together
PAIRS = ("same section", "different sections")


def adaptation_terms(model: SectionClassifier, batch: SectionBatch, margin: float) -> tuple[dict[str, Tensor], Tensor]:
    """All that the loss may be composed of, unweighted, in one forward pass; and the embedding, (B, C, F', T').

    Returns:
        ``source``, ``target``: cross entropy of the source and target clips; ``semantic``, ``contrastive``: see
        :func:`asd.training.ccsa.ccsa`, in float32 whatever the autocast; ``outliers``: cross entropy to the uniform
        distribution of the proxy outliers, where the batch has some. Then the embedding of all of the batch.
    """
    embedding = model.embed(batch.frames)
    logits = model.network.classify(embedding)
    n, m = batch.n_source, len(batch.section)
    section = batch.section.argmax(dim=1)
    with torch.autocast(embedding.device.type, enabled=False):
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
    """How hard each part of the loss pulls at the embedding: the norm of its gradient there, as ``gradient_<name>``."""
    norms = {}
    for name, part in parts.items():
        (gradient,) = torch.autograd.grad(part, embedding, retain_graph=True)
        norms[f"gradient_{name}"] = gradient.float().norm()
    return norms


def adaptation_clips(data: TrainingData, kind: str, seed: int) -> LabelledFrames:
    """The labelled clips that are drawn beside the source clips.

    Args:
        data: what the training draws from.
        kind: ``target``: the target train clips; ``source``: for a control, as many source train clips of each section
            in their place.
        seed: chooses the latter.

    Raises:
        InputError: the machine type has no target train clips.
    """
    train = data.clips[(data.clips["split"] == "train") & ~data.is_held_out]
    target = train[train["domain"] == "target"]
    if target.empty:
        raise InputError(
            f"machine_type: {data.shard.machine_type} has no target train clips in sections {data.sections}, and"
            " domain adaptation needs some; what 03_aux can do is all there is"
        )
    if kind == "target":
        return data.target
    chosen = []
    for section, clips in target.groupby("section"):
        source = train[(train["domain"] != "target") & (train["section"] == section)]
        order = torch.randperm(len(source), generator=seeded(seed, "in the target clips' place", section))
        chosen.append(source.iloc[order[: len(clips)].numpy()])
    return data.labelled(pd.concat(chosen))


@torch.no_grad()
def embeddings(model: SectionClassifier, clips: LabelledFrames, n_frames: int, pooled: bool) -> tuple[Tensor, Tensor]:
    """Embeddings of the beginnings of some clips of each section, at most PER_SECTION, and the index of their section.

    Args:
        model: in evaluation mode.
        clips: frames and section indices.
        n_frames: length of the beginning.
        pooled: take the mean over the picture, (N, C), else leave it, (N, C, F', T').
    """
    frames, section = clips.frames, clips.section
    rows = torch.cat([(section == s).nonzero().flatten()[:PER_SECTION] for s in section.unique()])
    found = []
    for some in rows.split(AT_ONCE):
        embedding = model.embed(frames.crop(some, torch.zeros_like(some), n_frames)).float()
        found.append(embedding.mean(dim=(2, 3)) if pooled else embedding)
    return torch.cat(found), section[rows]


def pair_distances(
    model: SectionClassifier, source: LabelledFrames, target: LabelledFrames, n_frames: int
) -> pd.DataFrame:
    """The distances that CCSA works on, in the model as it is: a row a pair of a source and a target clip.

    Returns:
        ``distance``: root mean square difference of the embeddings; ``pair``: "same section" or "different sections".
    """
    (a, of_a), (b, of_b) = (embeddings(model, clips, n_frames, pooled=False) for clips in (source, target))
    distance = mean_squared_differences(a, b).sqrt().flatten().tolist()
    same = (of_a.unsqueeze(1) == of_b).flatten().tolist()
    return pd.DataFrame({"distance": distance, "pair": [PAIRS[int(not one)] for one in same]})
