"""Where a training computes, and in which precision."""

import torch

from asd.errors import InputError


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU if there is one.

    Raises:
        InputError: the GPU does not exist.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    n_devices = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if n_devices else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:  # a number that no device can have
        raise InputError(f"device: {name!r} is not available: {error}") from error
    if device.type == "cuda" and (device.index or 0) >= n_devices:
        raise InputError(f"device: {name!r} is not available: {n_devices} CUDA devices found; allowed: 'cpu', 'auto'")
    return device


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of that name in which a training computes on the device.

    ``auto`` is bfloat16 on GPUs that compute in it, and float32 elsewhere: older GPUs only imitate bfloat16, slowly. In
    bfloat16 weights, losses and gradients stay float32 (*automatic mixed precision*).

    Example:
        >>> find_precision("auto", torch.device("cpu"))
        torch.float32
    """
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)  # from Ampere on
        name = "bfloat16" if native else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
