"""The loop all stages share: steps, checkpoints, resume, averaging, pictures; in one process or several.

Randomness is a function of (seed, step) alone, so a resumed run draws what the unbroken one would have drawn, and
nothing of a generator's state needs saving. It is drawn for the whole batch of a step, whichever part of the batch a
process or an accumulated piece computes, so that the division does not show either.
"""

from __future__ import annotations

import logging
import math
import signal
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from quickchange.files import save_safetensors_atomic, write_json_atomic
from quickchange.train import distributed
from quickchange.train.activation_checkpointing import checkpoint_blocks
from quickchange.train.checkpoints import checkpoints, latest, load_checkpoint, save_checkpoint
from quickchange.train.config import StageConfig
from quickchange.train.logs import Log, NotFiniteError
from quickchange.train.optim import Average, apply_gradients, make_optimizers, rate_factor

log = logging.getLogger(__name__)
TIME_IS_UP = 1  # among signal numbers, as a reason to stop


class DivergedError(RuntimeError):
    """A loss or a norm became NaN or infinite."""


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
        self.average = Average(trained, config.ema, config.ema_start)
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
        return self.optimizers

    @abstractmethod
    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Forward pass over ``rows``. ``loss`` is differentiated; other scalars are logged. All are means over the
        batch."""

    def draw(
        self, sample: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator, dim: int = 0
    ) -> Tensor:
        """``sample(shape, generator=generator)`` for the whole batch, cut down to ``rows`` along ``dim``.

        Args:
            sample: ``torch.randn`` or alike. shape: of the result, ``dim`` counting ``rows``.
        """
        whole = list(shape)
        whole[dim] = self.config.batch
        return sample(tuple(whole), generator=generator).narrow(dim, self.rows.start, self.rows.stop - self.rows.start)

    def backward(
        self, losses: Callable[[torch.Generator], dict[str, Tensor]], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Differentiates ``loss`` over this process's share of the batch, in ``accumulate`` pieces.

        Args:
            losses: forward pass over ``rows``; called once per piece with the generator in the same state.

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
        norm = apply_gradients(self.optimizers, self.parameters, rate_factor(step, self.config))
        return {**values, "gradient_norm": norm.detach()}

    def evidence(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What went into a step, to find out why it failed: tensors, and JSON values such as sample numbers."""
        return {}, {}

    @abstractmethod
    def sample(self, path: Path) -> None:
        """Writes a picture of what the averaged weights do now."""

    @abstractmethod
    def finish(self) -> None:
        """Exports the result; averaged weights are live. Called in every process."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """The step's own source of randomness; also seeds torch's global one."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.Generator().manual_seed((seed * 7_368_787 + step * 2 + 1) % 2**63)


def train(
    stage: Stage, folder: Path, *, minutes: float | None = None, fresh: bool = False, wandb: str | None = None
) -> bool:
    """Runs a stage to its end, or until ``minutes`` are over.

    Resumes from ``folder`` unless ``fresh``. Writes ``metrics.jsonl``, ``curves.png``, ``sample-*.png``, TensorBoard
    events and checkpoints there. On SIGINT or SIGTERM the step is finished and a checkpoint written; a second signal
    is obeyed at once.

    Args:
        wandb: project of Weights & Biases to log to as well.

    Returns:
        Whether the stage is finished (and exported).

    Raises:
        DivergedError: a loss or a norm is not finite. The last checkpoint is left as it was; the step's inputs lie
            beside it as ``bad-*.safetensors`` and ``.json``.
        ValueError: the checkpoint there belongs to another stage or recipe, or is past the recipe's ``steps``.
        KeyboardInterrupt, SystemExit: after SIGINT, SIGTERM (143).
    """
    config = stage.config
    folder.mkdir(parents=True, exist_ok=True)
    found = None if fresh else latest(folder)
    start = load_checkpoint(stage, found) if found else 0
    if start > config.steps:
        raise ValueError(
            f"{found} is at step {start}, past steps = {config.steps}; set steps to at least {start}, or start over "
            "with --fresh"
        )
    if found:
        log.info("%s: resumed at step %d", stage.name, start)
    elif distributed.rank() == 0:
        for old in checkpoints(folder):
            old.unlink()
    distributed.greatest(0)  # the others must not look before the old ones are gone
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    done, reason = start, 0
    records = Log(folder, start, config.batch, wandb)
    bar = tqdm(total=config.steps, initial=start, desc=stage.name, unit="step", disable=distributed.rank() > 0)
    try:
        with _signals() as received, bar:
            for step in range(start, config.steps):
                values = stage.update(step, step_generator(config.seed, step))
                stage.average.update(step)
                records.add(step, values, config.learning_rate * rate_factor(step, config))
                done = step + 1
                bar.update()
                last = done == config.steps
                draws, saves = (last or done % every == 0 for every in (config.sample_every, config.save_every))
                reason = distributed.greatest(max([*received, int(time.monotonic() > deadline)]))
                stops = reason > 0 and not last
                if draws or saves or stops or done % config.log_every == 0:
                    records.flush()
                    bar.set_postfix_str(f"loss {records.last['loss']:.4f}", refresh=False)
                if draws:
                    _picture(stage, folder / f"sample-{done:06d}.png", done, records)
                if saves or stops:
                    save_checkpoint(stage, done, folder)
                    records.curves()
                if draws or saves:
                    records.resume_clock()
                if stops:
                    break
    except NotFiniteError as error:
        raise _diverged(stage, folder, error) from error
    finally:
        records.close()
    if done == config.steps:
        stage.average.swap()
        stage.finish()
        stage.average.swap()
    if reason == signal.SIGINT:
        raise KeyboardInterrupt
    if reason > TIME_IS_UP:
        raise SystemExit(128 + reason)
    return done == config.steps


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Numbers of the signals that asked for an end. After the first, the next one is obeyed as usual."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield received
        return
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in handled}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()
        log.info("finishing the step and saving; once more to stop at once")

    for number in handled:
        signal.signal(number, note)
    try:
        yield received
    finally:
        restore()


def _picture(stage: Stage, path: Path, step: int, records: Log) -> None:
    stage.average.swap()
    with torch.no_grad(), tempfile.TemporaryDirectory() as nowhere:
        # All processes compute, since each holds a part of the network; one keeps the picture.
        stage.sample(path if distributed.rank() == 0 else Path(nowhere) / path.name)
    stage.average.swap()
    records.picture(step, path)


def _diverged(stage: Stage, folder: Path, error: NotFiniteError) -> DivergedError:
    """Saves what went into the step; says where, and what to do."""
    path = folder / f"bad-{error.step + 1:06d}.safetensors"
    if distributed.rank() == 0:
        tensors, facts = stage.evidence(error.step)
        save_safetensors_atomic(tensors, path)
        values = {key: str(value) for key, value in error.values.items()}
        facts = {"stage": stage.name, "step": error.step, "seed": stage.config.seed, "values": values, **facts}
        write_json_atomic(path.with_suffix(".json"), facts)
    found = latest(folder)
    back = f"resume from {found}" if found else "start over"
    return DivergedError(
        f"{stage.name}: {error}; its inputs are in {path} and .json: remove bad samples or lower the learning rate, "
        f"then {back}"
    )
