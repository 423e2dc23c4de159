"""The number of threads follows the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import tiny
from quickchange.cli import wait_politely
from quickchange.engine.threads import ThreadTuner, typical_work, usable_cores


class Machine:
    """Cores, a clock, and work whose time depends on the threads and on a busy neighbour."""

    def __init__(self, cores: int = 2) -> None:
        self.cores, self.now, self.threads, self.busy, self.runs = cores, 0.0, cores, False, 0

    def work(self) -> None:
        self.runs += 1
        self.now += self.seconds()

    def seconds(self) -> float:
        if self.busy and self.threads == self.cores:
            return 2.0  # they wait for each other
        return 0.02 / self.threads

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def tuner(self) -> ThreadTuner:
        return ThreadTuner(self.work, self.cores, clock=lambda: self.now, set_threads=self.set_threads)

    def chunk(self, tuner: ThreadTuner) -> None:
        took = 10 * self.seconds()
        self.now += took
        tuner.took(took)


@pytest.mark.parametrize("cores", [2, 16])
def test_alone_all_cores_compute(cores: int) -> None:
    machine = Machine(cores)
    assert machine.tuner().tune() == machine.threads == cores


def test_beside_a_busy_neighbour_fewer_compute() -> None:
    machine = Machine()
    machine.busy = True
    assert machine.tuner().tune() == machine.threads == 1


def test_a_neighbour_that_comes_costs_one_slow_chunk_and_is_noticed_when_it_leaves() -> None:
    machine = Machine()
    tuner = machine.tuner()
    tuner.tune()
    for _ in range(5):
        machine.chunk(tuner)
    machine.busy = True
    machine.chunk(tuner)
    assert machine.threads == 1
    runs = machine.runs
    for _ in range(40):
        machine.chunk(tuner)
    assert machine.threads == 1
    assert machine.runs == runs, "measured again without need"
    machine.busy = False
    for _ in range(60):
        machine.chunk(tuner)
    assert machine.threads == 2


def test_a_steady_machine_is_not_measured_again() -> None:
    machine = Machine()
    tuner = machine.tuner()
    tuner.tune()
    runs = machine.runs
    for _ in range(1000):
        machine.chunk(tuner)
    assert machine.runs == runs


def test_one_core_needs_no_measurement() -> None:
    machine = Machine(1)
    assert machine.tuner().tune() == 1
    assert machine.runs == 0


def test_a_studio_measures_its_own_pass() -> None:
    before = torch.get_num_threads()
    try:
        studio = tiny.studio()
        assert studio.threads is None
        tuner = studio.tune_threads(2)
        assert tuner.threads in (1, 2)
        assert torch.get_num_threads() == tuner.threads
        reported: list[float] = []
        tuner.took = reported.append  # type: ignore[assignment, method-assign]
        with studio.open(tiny.image(1), tiny.garment(2)) as session:
            next(session)
            next(session)
        assert len(reported) == 2
        assert all(0 < seconds < 60 for seconds in reported)
    finally:
        torch.set_num_threads(before)


def test_typical_work_runs() -> None:
    assert typical_work()() is not None
    assert usable_cores() >= 1


def test_waiting_threads_sleep_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    wait_politely()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    wait_politely()
    assert os.environ["GOMP_SPINCOUNT"] == "2000"


def test_the_command_line_asks_for_it_before_torch_is_there() -> None:
    code = (
        "import os, sys; from quickchange.cli import main; main(['generate']); "
        "print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "2000"]
