"""The networks: plain ``torch.nn.Module``s that know nothing of files, machines or MLflow."""
