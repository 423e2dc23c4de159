"""Which device a command computes on."""

from __future__ import annotations

import torch

from quickchange.errors import InputError


def usable_device(name: str) -> str:
    """``name`` as torch knows it; "auto" is CUDA where there is a GPU, else the CPU.

    Raises:
        InputError: for a device that is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises the latter
        raise InputError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error
    return name
