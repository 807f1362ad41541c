"""What an angular embedding is trained with: classes, augmentations of clips and features, and losses of angles."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from asd.data.frames import LabelledFrames
from asd.models.angular import AngularNetwork
from asd.training.batches import mix, seeded, shuffled
from asd.training.losses import mixed_target

LEAST_STD = 0.1  # dB, of a band over time: a statistic to divide by


def exactly(embedding: Tensor) -> torch.autocast:
    """Without the autocast around a loss: in bfloat16 a cosine has two digits, and the scale ŝ multiplies its error."""
    return torch.autocast("cuda" if embedding.is_cuda else "cpu", enabled=False)


class SubclusterAdaCos(nn.Module):
    """Cross entropy of a softmax over the angles between an embedding and several centres of each class.

    With the cosines cos θ_c,s of an embedding and the S centres of each of C classes, and a fixed scale ŝ,

        log p(c) = logsumexp_s ŝ cos θ_c,s − logsumexp_c',s ŝ cos θ_c',s,    ŝ = √2 · log(C · S − 1).

    Wilkinghoff, *Sub-cluster AdaCos: learning representations for anomalous sound detection*, IJCNN 2021, equations 3
    and 4, with the scale that Zhang et al. (*AdaCos*, CVPR 2019) call fixed. Several centres per class leave room for a
    distribution; centres that are drawn once and never trained keep it from shrinking to a point.

    Args:
        n_classes, n_subclusters: C and S.
        dimensions: of the embedding.
        trainable: whether the centres are trained.
    """

    def __init__(self, n_classes: int, n_subclusters: int, dimensions: int, trainable: bool):
        super().__init__()
        self.scale = math.sqrt(2) * math.log(n_classes * n_subclusters - 1)
        self.centre = nn.Parameter(torch.randn(n_classes, n_subclusters, dimensions), requires_grad=trainable)

    def log_prob(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, D) → log p of every class, (B, C)."""
        with exactly(embedding):
            cosine = torch.einsum("bd,csd->bcs", normalize(embedding, dim=1), normalize(self.centre, dim=2))
            return (self.scale * cosine).logsumexp(dim=2).log_softmax(dim=1)

    def forward(self, embedding: Tensor, target: Tensor) -> Tensor:
        """Cross entropy of embeddings (B, D) with class probabilities (B, C): (B,)."""
        return -(target * self.log_prob(embedding)).sum(dim=1)


class SubspaceLoss(SubclusterAdaCos):
    """The same, except that an embedding is compared with the *subspace* that a class's centres span.

    The cosine of the angle to a subspace is the length of the projection P_c x of the embedding x of length 1, and

        log p(c) = ŝ ‖P_c x‖ − logsumexp_c' ŝ ‖P_c' x‖,    ŝ = √2 · log(C − 1),

    since C subspaces compete. Wilkinghoff, *AdaProj: adaptively scaled angular margin subspace projections for
    anomalous sound detection with auxiliary classification tasks*, DCASE 2024, here with a fixed scale. Its distance
    between the embedding and its projection onto subspace and sphere is ‖x − P_c x / ‖P_c x‖‖² = 2 − 2 ‖P_c x‖.
    """

    def __init__(self, n_classes: int, n_subclusters: int, dimensions: int, trainable: bool):
        super().__init__(n_classes, n_subclusters, dimensions, trainable)
        self.scale = math.sqrt(2) * math.log(n_classes - 1)

    def log_prob(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, D) → log p of every class, (B, C)."""
        with exactly(embedding):
            basis = torch.linalg.qr(self.centre.transpose(1, 2)).Q  # (C, D, S), orthonormal columns
            projection = torch.einsum("bd,cds->bcs", normalize(embedding, dim=1), basis)
            return (self.scale * projection.norm(dim=2)).log_softmax(dim=1)


LOSSES = {"adacos": SubclusterAdaCos, "subspace": SubspaceLoss}


def feature_exchange(parts: list[Tensor], target: Tensor, other: Tensor, exchanged: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings whose other branches than the first come from another clip, and their 3·C classes.

    Wilkinghoff, *Self-supervised learning for anomalous sound detection*, ICASSP 2024: (e₁(x₁), e₂(x₂)) has the class
    probabilities (0, ½ y(x₁), ½ y(x₂)), an unchanged embedding (y(x₁), 0, 0). Whether branches belong together can only
    be told by what each one knows about the clip itself.

    Args:
        parts: the branches' embeddings, (B, D) each; those from the second one on are exchanged together.
        target: class probabilities y, (B, C).
        other: index of x₂ for each clip, (B,).
        exchanged: whether its other branches are exchanged, (B,).

    Returns:
        The embeddings (B, D · branches) and the class probabilities (B, 3 C).
    """
    chosen = exchanged[:, None]
    others = torch.cat(parts[1:], dim=1)
    others = torch.where(chosen, others[other], others)
    none = torch.zeros_like(target)
    own = torch.cat([target, none, none], dim=1)
    both = torch.cat([none, 0.5 * target, 0.5 * target[other]], dim=1)
    return torch.cat([parts[0], others], dim=1), torch.where(chosen, both, own)


def statistics_exchange(frames: Tensor, other: Tensor) -> Tensor:
    """Frames with another clip's mean and standard deviation over time in every band: (B, T, n_mels) in dB.

    z = (x₁ − μ₁) / σ₁ · σ₂ + μ₂ (StatEx: Chen et al., *An effective anomalous sound detection method based on
    representation learning with simulated anomalies*, ICASSP 2023, along the time axis).

    Args:
        frames: (B, T, n_mels) in dB.
        other: index of x₂ for each clip, (B,).
    """
    mean, std = frames.mean(dim=1, keepdim=True), frames.std(dim=1, keepdim=True).clamp(min=LEAST_STD)
    return (frames - mean) / std * std[other] + mean[other]


@dataclass(frozen=True)
class AngularBatch:
    """Snippets of all machine types, mixed, and what is exchanged between them.

    Attributes:
        frames: (B, n_frames, n_mels) in dB.
        target: (B, C) class probabilities.
        other: (B,) another clip of the batch for each one.
        features_exchanged: (B,) whether features are exchanged with it.
        statistics_exchanged: (K,) indices of the clips of which a copy with its statistics is classified.
        statistics_kept: (B − K,) indices of the others.
    """

    frames: Tensor
    target: Tensor
    other: Tensor
    features_exchanged: Tensor
    statistics_exchanged: Tensor
    statistics_kept: Tensor


def angular_batches(
    clips: LabelledFrames, n_classes: int, n_frames: int, batch_size: int, *, mixup: float, seed: int, epoch: int
) -> Iterator[AngularBatch]:
    """One pass over clips of all machine types in random crops, a part of them mixed in pairs.

    Args:
        clips: with their class, instead of their section.
        n_classes: C.
        n_frames: length of a crop.
        batch_size: clips per batch at most; all batches of an epoch are nearly equal in size.
        mixup: probability of a clip to be mixed with another one, r · x₁ + (1 − r) · x₂ with r uniform in [0, 1).
        seed, epoch: what the draws depend on.
    """
    generator, device = seeded(seed, epoch, "angular"), clips.frames.device
    for clip in shuffled(len(clips), batch_size, generator):
        frames = clips.frames.random_crop(clip, n_frames, generator)
        partner = torch.randperm(len(clip), generator=generator)
        is_mixed = torch.rand(len(clip), generator=generator) < mixup
        share = torch.where(is_mixed, torch.rand(len(clip), generator=generator), 1.0)
        target = mixed_target(clips.section[clip], clips.section[clip[partner]], share, n_classes)
        exchanged, changed = (torch.rand(len(clip), generator=generator) < 0.5 for _ in range(2))
        other = torch.randperm(len(clip), generator=generator)
        # indices, made here: on a GPU a mask as index would wait until the mask is computed
        drawn = (target, other, exchanged, changed.nonzero().flatten(), (~changed).nonzero().flatten())
        if mixup:
            partner, share = (numbers.to(device, non_blocking=True) for numbers in (partner, share))
            frames = mix(frames, frames[partner], share)
        yield AngularBatch(frames, *(numbers.to(device, non_blocking=True) for numbers in drawn))


class AngularTraining(nn.Module):
    """A network with the centres that it is trained against.

    Args:
        network: the network.
        loss: which of LOSSES.
        n_classes, n_subclusters: classes, and centres of each.
        with_features, with_statistics: exchange features, or statistics.
    """

    def __init__(
        self,
        network: AngularNetwork,
        loss: str,
        n_classes: int,
        n_subclusters: int,
        with_features: bool,
        with_statistics: bool,
    ):
        super().__init__()
        self.network = network
        self.n_classes = n_classes
        sizes = (n_subclusters, network.dimensions)
        self.fixed = LOSSES[loss](n_classes, *sizes, trainable=False)
        self.features = LOSSES[loss](3 * n_classes, *sizes, trainable=True) if with_features else None
        self.statistics = LOSSES[loss](3 * n_classes, *sizes, trainable=True) if with_statistics else None

    def terms(self, batch: AngularBatch) -> dict[str, Tensor]:
        """The terms of the loss of a batch, scalars: ``loss`` is their sum, ``accuracy`` that of the fixed centres."""
        parts = self.network.parts(batch.frames)
        embedding = torch.cat(parts, dim=1)
        classes = self.fixed.log_prob(embedding)
        terms = {"classes": -(batch.target * classes).sum(dim=1).mean()}
        if self.features is not None:
            exchanged = feature_exchange(parts, batch.target, batch.other, batch.features_exchanged)
            terms["features"] = self.features(*exchanged).mean()
        if self.statistics is not None:
            terms["statistics"] = self._statistics(batch, embedding)
        correct = classes.argmax(dim=1) == batch.target.argmax(dim=1)
        return {"loss": torch.stack(list(terms.values())).sum()} | terms | {"accuracy": correct.float().mean()}

    def _statistics(self, batch: AngularBatch, embedding: Tensor) -> Tensor:
        """Like :func:`feature_exchange`, of clips with exchanged statistics, which pass through the network again."""
        assert self.statistics is not None
        changed, kept = batch.statistics_exchanged, batch.statistics_kept
        if len(changed) < 2:  # a BatchNorm cannot train on a single clip
            return embedding.new_zeros(())
        frames = statistics_exchange(batch.frames, batch.other)[changed]
        none = torch.zeros_like(batch.target)
        target = torch.cat([none, 0.5 * batch.target, 0.5 * batch.target[batch.other]], dim=1)[changed]
        own = torch.cat([batch.target, none, none], dim=1)[kept]
        loss = [self.statistics(self.network.embedding(frames), target), self.statistics(embedding[kept], own)]
        return torch.cat(loss).mean()


@torch.no_grad()
def validate_classes(model: AngularTraining, clips: LabelledFrames | None, n_frames: int) -> dict[str, float]:
    """Mean cross entropy and accuracy on the classes of held-out clips; empty where none are held out."""
    if clips is None:
        return {}
    losses, correct = [], []
    for rows in torch.arange(len(clips)).split(64):
        frames = clips.frames.crop(rows, torch.zeros_like(rows), n_frames)
        label = clips.section[rows].to(frames.device)
        classes = model.fixed.log_prob(model.network.embedding(frames))
        losses.append(-(one_hot(label, model.n_classes) * classes).sum(dim=1))
        correct.append(classes.argmax(dim=1) == label)
    return {
        "validation_loss": float(torch.cat(losses).mean()),
        "validation_accuracy": float(torch.cat(correct).float().mean()),
    }
