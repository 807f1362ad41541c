"""Anomalous sound detection for machines: the package that the notebooks import.

The rooms, in the order in which they build on each other; each imports only rooms above it:

    data         recordings and what is computed from them: the clips table, log-mel frames, the store that keeps them
    demo         the embedded data set: machine types made of simple physics
    models       the networks: section classifier, autoencoder, MADE and MAF
    notebook     a notebook's parameters, validated, and the data that they name
    training     which clips are trained on, their batches, the losses, and the one training loop
    evaluation   score tables and what follows from them: metrics, confidence intervals, decisions, ensembles
    detection    a trained model in use: its file, its scores, its service
    tracking     runs in the MLflow store: started, resumed, finished, found again
    plots        the figures
    challenge    DCASE 2021 Task 2: download, submission, official evaluation
    report       the leaderboard and the HTML report
    commands     the longer commands of ``asd``

Modules without a room: ``errors``, ``files``, ``paths`` and ``weights`` below all rooms, ``cli`` and ``doctor`` above.

Data flows one way:

    wav files ─ data.clips ─▶ clips table ─ data.recordings, data.features, data.store ─▶ log-mel frames
    log-mel frames ─ data.frames, training.batches ─▶ batches ─ models, training.losses, training.loop ─▶ trained model
    trained model ─ detection.detector, detection.scoring ─▶ score table ─ evaluation ─▶ plots, challenge, report
"""

__version__ = "0.1.0"
