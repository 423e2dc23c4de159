"""Noise that is drawn on the host, so that it is the same for every device, and copied without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Event(Protocol):
    """A mark in the device's queue, as ``torch.cuda.Event``."""

    def record(self) -> None:
        """Mark what is queued so far."""
        ...

    def synchronize(self) -> None:
        """Wait until the device is past the mark; return at once where nothing was recorded."""
        ...


class NoiseBuffer:
    """One tensor of noise, drawn anew for every chunk.

    On an accelerator the host draws into two pinned buffers in turn. The host may run ahead of the device: before it
    draws into a buffer again, it waits for the copy that last read it.

    Args:
        out: where the noise ends up; also the drawing buffer, where ``hosts`` is empty.
        hosts: buffers of the same shape in the host's memory, each with an event of its own.

    Attributes:
        out: see above.
    """

    def __init__(self, out: Tensor, hosts: Sequence[tuple[Tensor, Event]] = ()) -> None:
        self.out, self._hosts, self._turn = out, tuple(hosts), 0

    @staticmethod
    def on(device: torch.device, shape: Sequence[int]) -> NoiseBuffer:
        """Allocate the buffers of a device; ``shape`` begins with the number of denoising steps."""
        out = torch.empty(tuple(shape), device=device)
        if device.type != "cuda":
            return NoiseBuffer(out)
        return NoiseBuffer(out, [(torch.empty(tuple(shape), pin_memory=True), torch.cuda.Event()) for _ in range(2)])

    def draw(self, generator: torch.Generator, steps: int) -> Tensor:
        """Fill the first ``steps`` with standard normal values.

        Args:
            generator: on the CPU.
            steps: how many denoising steps' noise is needed.

        Returns:
            A view of the buffer, float32 [steps, ...], on its device. The next call overwrites it.
        """
        if not self._hosts:
            return self.out[:steps].normal_(generator=generator)
        host, copied = self._hosts[self._turn]
        self._turn = (self._turn + 1) % len(self._hosts)
        copied.synchronize()
        out = self.out[:steps].copy_(host[:steps].normal_(generator=generator), non_blocking=True)
        copied.record()
        return out
