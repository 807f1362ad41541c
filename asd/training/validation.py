"""How well a classifier does on the held-out clips, measured after every epoch."""

import numpy as np

from asd.models.classifier import SectionClassifier
from asd.training.data import TrainingData
from asd.training.losses import classification


def validate_sections(model: SectionClassifier, data: TrainingData) -> dict[str, float]:
    """Mean cross entropy and accuracy on the sections of the held-out clips; empty where none are held out."""
    losses, correct = [], []
    for frames, section in data.held_out_batches():
        logits = model(frames)
        losses += classification(logits, section).tolist()
        correct += (logits.argmax(dim=1) == section).tolist()
    if not losses:
        return {}
    return {"validation_loss": float(np.mean(losses)), "validation_accuracy": float(np.mean(correct))}
