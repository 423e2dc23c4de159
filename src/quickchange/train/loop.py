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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from tqdm import tqdm

from quickchange.errors import QuickchangeError
from quickchange.files import save_safetensors_atomic, write_json_atomic
from quickchange.train import distributed
from quickchange.train.checkpoints import checkpoints, latest, load_checkpoint, save_checkpoint
from quickchange.train.logs import Log, NotFiniteError
from quickchange.train.optim import rate_factor
from quickchange.train.stage import Stage

log = logging.getLogger(__name__)
TIME_IS_UP = 1  # among signal numbers, as a reason to stop


class DivergedError(QuickchangeError, RuntimeError):
    """A loss or a norm became NaN or infinite."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """The step's own source of randomness; also seeds torch's global one."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.Generator().manual_seed((seed * 7_368_787 + step * 2 + 1) % 2**63)


def train(
    stage: Stage,
    folder: Path,
    *,
    minutes: float | None = None,
    fresh: bool = False,
    wandb: str | None = None,
    took: Callable[[float], None] | None = None,
) -> bool:
    """Runs a stage to its end, or until ``minutes`` are over.

    Resumes from ``folder`` unless ``fresh``. Writes ``metrics.jsonl``, ``curves.png``, ``sample-*.png``, TensorBoard
    events and checkpoints there. On SIGINT or SIGTERM the step is finished and a checkpoint written; a second signal
    is obeyed at once.

    Args:
        stage: what to train.
        folder: of its checkpoints and curves.
        minutes: stop, with a checkpoint, after this time.
        fresh: ignore an earlier checkpoint.
        wandb: project of Weights & Biases to log to as well.
        took: called after every step with its seconds, e.g. ``ThreadTuner.took``.

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
    distributed.barrier()  # the others must not look before the old ones are gone
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    done, reason = start, 0
    records = Log(folder, start, config.batch, wandb)
    bar = tqdm(total=config.steps, initial=start, desc=stage.name, unit="step", disable=distributed.rank() > 0)
    try:
        with _signals() as received, bar:
            for step in range(start, config.steps):
                began = time.perf_counter()
                values = stage.update(step, step_generator(config.seed, step))
                if took:
                    took(time.perf_counter() - began)
                stage.average.update(step)
                records.add(step, values, config.learning_rate * rate_factor(step, config))
                done = step + 1
                bar.update()
                last = done == config.steps
                draws, saves = (last or done % every == 0 for every in (config.sample_every, config.save_every))
                reason = distributed.all_reduce_max(max([*received, int(time.monotonic() > deadline)]))
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
        tensors, facts = stage.debug_inputs(error.step)
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
