"""Noise on a device that lags behind the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from quickchange.engine.noise import NoiseBuffer


class Device:
    """A queue of copies that run only when the host waits, as late as a real device may."""

    def __init__(self) -> None:
        self.queue: list[Callable[[], Any]] = []
        self.arrived: list[Tensor] = []

    def run(self, until: int) -> None:
        while len(self.arrived) < until:
            self.queue.pop(0)()


class Mark:
    """An event of that device."""

    def __init__(self, device: Device) -> None:
        self.device, self.position = device, 0

    def record(self) -> None:
        self.position = len(self.device.arrived) + len(self.device.queue)

    def synchronize(self) -> None:
        self.device.run(self.position)


class Lagging(Tensor):
    """A tensor of that device: copies into it are queued."""

    device_queue: Device

    def copy_(self, source: Tensor, non_blocking: bool = False) -> Tensor:  # type: ignore[override]
        device = Lagging.device_queue
        device.queue.append(lambda: device.arrived.append(source.clone()))
        return self


@pytest.mark.parametrize("buffers", [2, 3])
def test_a_host_that_runs_ahead_never_overwrites_what_is_still_to_be_copied(buffers: int) -> None:
    device = Lagging.device_queue = Device()
    hosts = [(torch.empty(2, 3), Mark(device)) for _ in range(buffers)]
    noise = NoiseBuffer(torch.empty(2, 3).as_subclass(Lagging), hosts)
    generator = torch.Generator().manual_seed(1)
    for _ in range(7):
        noise.draw(generator, 2)
    device.run(7)
    generator.manual_seed(1)
    expected = [torch.empty(2, 3).normal_(generator=generator) for _ in range(7)]
    assert all(torch.equal(one, two) for one, two in zip(device.arrived, expected, strict=True))


def test_the_host_runs_ahead_of_the_device() -> None:
    device = Lagging.device_queue = Device()
    noise = NoiseBuffer(torch.empty(1).as_subclass(Lagging), [(torch.empty(1), Mark(device)) for _ in range(2)])
    noise.draw(torch.Generator(), 1)
    noise.draw(torch.Generator(), 1)
    assert not device.arrived, "the first two draws wait for nothing"


def test_on_the_host_itself_there_is_one_buffer() -> None:
    noise = NoiseBuffer.on(torch.device("cpu"), (3, 2))
    first = noise.draw(torch.Generator().manual_seed(1), 2)
    assert first.shape == (2, 2)
    assert noise.draw(torch.Generator().manual_seed(2), 2).data_ptr() == first.data_ptr()
