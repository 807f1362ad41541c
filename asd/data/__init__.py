"""Recordings and what is computed from them: the clips table, log-mel frames, the store that keeps them.

Data flows from ``clips`` through ``recordings``, ``features`` and ``store`` to ``frames``. ``selection`` chooses from
the clips table, ``checks`` finds oddities in a data set, ``ground_truth`` reads the labels that were published later,
``regions`` where faults are known to be. ``spectra`` and ``encoders`` (pretrained networks) are front ends in the place
of log-mels. Imports no other room.
"""
