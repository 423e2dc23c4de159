"""What a training stage is: modules, optimisers and one step. The loop, the checkpoints and the stages build on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from quickchange.train import distributed
from quickchange.train.activation_checkpointing import checkpoint_blocks
from quickchange.train.config import StageConfig
from quickchange.train.optim import Average, apply_gradients, make_optimizers, rate_factor
from quickchange.train.options import Options

if TYPE_CHECKING:
    from quickchange.train.inputs import Inputs

ROW_STRIDE = 0x9E3779B97F4A7C15
"""Odd, with bits everywhere: keys of neighbouring rows share no pattern."""


class Stage(ABC):
    """One training stage: owns modules and optimisers, knows how to make one step.

    Attributes:
        trained: modules that are optimised, averaged and checkpointed, by name; sharded where there are processes.
        kept: further modules in the checkpoint, not averaged (a critic).
        recipe: everything that the result depends on, as JSON values; a checkpoint of another recipe is refused.
        rows: the part of the step's batch that is being computed.
        divides: whether the stage computes only ``rows``; needed for accumulation and several processes.
    """

    name: str
    divides = False
    Options: ClassVar[type[Options]] = Options

    def __init__(
        self, config: StageConfig, trained: dict[str, nn.Module], kept: dict[str, nn.Module] | None = None
    ) -> None:
        self.config, self.trained, self.kept = config, trained, kept or {}
        self._check_division()
        for module in trained.values():
            if config.checkpointing:
                checkpoint_blocks(module)
            distributed.shard(module)
        self.optimizers = make_optimizers(trained.values(), config)
        self.parameters = [p for module in trained.values() for p in module.parameters() if p.requires_grad]
        self.average = Average(trained, config.ema, config.ema_start, config.ema_ramp)
        self.recipe: dict[str, Any] = {"stage": asdict(config)}
        self.rows = slice(0, config.batch)

    def _check_division(self) -> None:
        pieces = self.config.accumulate * distributed.size()
        if pieces > 1 and not self.divides:
            raise ValueError(f"stage {self.name} is small: train it in one process with accumulate = 1")
        if self.config.batch % pieces:
            raise ValueError(
                f"batch is {self.config.batch}; expected a multiple of processes x accumulate = "
                f"{distributed.size()} x {self.config.accumulate}"
            )

    def all_optimizers(self) -> list[torch.optim.Optimizer]:
        """Every optimiser whose state belongs in a checkpoint."""
        return self.optimizers

    @classmethod
    def build(cls, inputs: Inputs) -> Stage:
        """Build the stage for a run. Seeds torch's global source of randomness where weights are drawn.

        Raises:
            RecipeError: the recipe contradicts itself or an earlier stage.
            ModelNotFoundError: an earlier stage's result is missing.
        """
        raise NotImplementedError(f"{cls.__name__} is not part of a run")

    @abstractmethod
    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Forward pass over ``rows``.

        ``loss`` is differentiated; other scalars are logged. All are means over the batch.
        """

    def draw(
        self, sample: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator, dim: int = 0
    ) -> Tensor:
        """``sample(shape, generator=generator)`` for the whole batch, cut down to ``rows`` along ``dim``.

        Args:
            sample: ``torch.rand`` or alike.
            shape: of the result, ``dim`` counting ``rows``.
            generator: of the step, on the CPU.
            dim: the dimension of the rows.
        """
        whole = list(shape)
        whole[dim] = self.config.batch
        return sample(tuple(whole), generator=generator).narrow(dim, self.rows.start, self.rows.stop - self.rows.start)

    def gaussian_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device, dim: int = 0
    ) -> Tensor:
        """Standard normal values for ``rows``, drawn on ``device``.

        Every row has a generator of its own, keyed by the step's generator and the row's number in the batch. So it
        gets the same values however the batch is divided, and nobody draws for rows that others compute. Different
        kinds of devices draw different values.

        Args:
            shape: of the result, ``dim`` counting ``rows``.
            generator: of the step, on the CPU; gives one key per call.
            device: where the values are needed.
            dim: the dimension of the rows.

        Returns:
            float32.
        """
        key = int(torch.randint(1 << 62, (), generator=generator))
        out, own = torch.empty(shape, device=device), torch.Generator(device)
        for values, row in zip(out.unbind(dim), range(self.rows.start, self.rows.stop), strict=True):
            values.normal_(generator=own.manual_seed((key + row * ROW_STRIDE) % 2**63))
        return out

    def backward(
        self, losses: Callable[[torch.Generator], dict[str, Tensor]], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Differentiates ``loss`` over this process's share of the batch, in ``accumulate`` pieces.

        Args:
            losses: forward pass over ``rows``; called once per piece with the generator in the same state.
            generator: of the step, on the CPU.

        Returns:
            Detached means over the pieces.
        """
        pieces = self.config.accumulate
        count = self.config.batch // (pieces * distributed.size())
        state = generator.get_state()
        sums: dict[str, Tensor] = {}
        for piece in range(pieces):
            generator.set_state(state)
            first = (distributed.rank() * pieces + piece) * count
            self.rows = slice(first, first + count)
            values = losses(generator)
            (values["loss"] / pieces).backward()
            for key, value in values.items():
                part = value.detach() / pieces
                sums[key] = sums[key] + part if key in sums else part
        self.rows = slice(0, self.config.batch)
        return sums

    def update(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One optimiser step; returns detached scalars."""
        values = self.backward(lambda draws: self.losses(step, draws), generator)
        norm = apply_gradients(self.optimizers, self.parameters, rate_factor(step, self.config), self.config.clip)
        return {**values, "gradient_norm": norm.detach()}

    def debug_inputs(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What went into a step, to find out why it failed: tensors, and JSON values such as sample numbers."""
        return {}, {}

    @abstractmethod
    def sample(self, path: Path) -> None:
        """Writes a picture of what the averaged weights do now."""

    @abstractmethod
    def finish(self) -> None:
        """Exports the result; averaged weights are live. Called in every process."""
