"""Anomalous sound detection for machines: the thin package that the notebooks import.

Data flows one way through the modules, and each imports only what stands before it:

    dataset -> features -> store -> batches -> models, losses -> training -> detector -> scoring
    score table -> metrics, official, ensembles, submission, report, plots
"""

__version__ = "0.1.0"
