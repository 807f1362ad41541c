"""The networks: plain ``torch.nn.Module``s that know nothing of files, machine types or MLflow.

``classifier`` and ``density`` are the two kinds that a detector holds. Imports no other room.
"""
