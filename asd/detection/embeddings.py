"""What a classifier makes of clips: one point per clip, to look at."""

import numpy as np
import pandas as pd
import torch

from asd.data.store import Shard
from asd.detection.backends import network_of
from asd.detection.detector import Detector
from asd.detection.explanations import whole_clip
from asd.errors import needs_extra

with needs_extra("course"):
    from sklearn.manifold import TSNE

FEWEST = 4  # points that have neighbours to keep


@torch.no_grad()
def clip_embeddings(detector: Detector, shard: Shard, clips: pd.Series) -> np.ndarray:
    """The network's embedding of each clip, the mean over its snippets: (N, C).

    Args:
        detector: of any network that has embeddings.
        shard: the machine type's frames.
        clips: paths of N clips.

    Raises:
        InputError: a density model, which has no embeddings.
    """
    _, _, network = network_of(detector)
    network.eval()
    points = []
    for path in clips:
        snippets = whole_clip(detector, shard, path).unfold(0, detector.n_frames, detector.hop).transpose(1, 2)
        points.append(network.embedding(snippets).mean(dim=0))
    return torch.stack(points).cpu().numpy()


def in_a_plane(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Place points (N, C) in a plane such that neighbours stay neighbours, by t-SNE: (N, 2).

    Van der Maaten and Hinton, *Visualizing data using t-SNE*, JMLR 9, 2008. Distances between groups and the sizes of
    groups mean nothing; the axes have no unit. Fewer than four points are placed by their first two coordinates.
    """
    if len(points) < FEWEST:
        return points[:, :2]
    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
