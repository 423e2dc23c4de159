"""Measure the studio's server under load: several clients at once, or one for minutes with a switch every two seconds.

    python benchmarks/programs/serve_load.py # 1, 2, 4, 8 viewers, 20 s each -> benchmarks/serve-load.json
    python benchmarks/programs/serve_load.py --soak 300 # 5 minutes -> benchmarks/serve-soak.json and .png

It starts a server of its own on a free port of this machine and talks to nothing else. Clients receive frames over the
real socket and acknowledge them, but do not decode. Times are from sending ``wear`` to the arrival of the first frame
that obeys it; a browser adds decoding and a wait for the next screen refresh.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scipy.stats import theilslopes
from tqdm import tqdm

from quickchange.evaluate.record import commit, weights_digest
from quickchange.files import atomic_path, write_json_atomic
from quickchange.serve.client import RefusedError, Viewer, connect
from quickchange.serve.protocol import messages

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[1] / "models" / "mini"
PERSON, PROMPT = "ash", "The person slowly turns slightly to the right."
MOST_VIEWERS, MOST_SECONDS = 16, 3600
SETTLE = 3.0  # seconds that count for nothing
MEGABYTE = 2**20


@dataclass(frozen=True)
class Load:
    """What several clients at a time got.

    Attributes:
        viewers: how many.
        rates: frames/s of every one.
        switches: how many switches of all of them were seen.
        switch_p50: median time of a switch, ms.
        switch_p95: 95th percentile, ms.
        dropped: frames, of all of them.
        busy_refused: further clients, of five, that were refused.
        memory: of the server, MB.
    """

    viewers: int
    rates: list[float]
    switches: int
    switch_p50: float
    switch_p95: float
    dropped: int
    busy_refused: int
    memory: float


@contextmanager
def server(places: int, threads: int | None) -> Iterator[tuple[str, psutil.Process]]:
    """Run a warm server; gives its address and process."""
    command = [sys.executable, "-m", "quickchange", "serve", "--model", str(MODEL), "--port", "0"]
    command += ["--max-sessions", str(places), *(["--threads", str(threads)] if threads else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (line := process.stdout.readline()):
                raise SystemExit("the server did not start")
            yield line.split()[0].rstrip("/"), psutil.Process(process.pid)
        finally:
            process.terminate()


async def garments(viewer: Viewer, names: Sequence[str], every: float, seconds: float, times: list[float]) -> int:
    """Receive frames for ``seconds``, change clothes about every ``every`` seconds, and count the frames."""
    rng = random.Random(0)
    count, number, asked = 0, 0, (0, 0.0)
    began = time.monotonic()
    switch_at = began + every
    pending: asyncio.Task[None] | None = None
    async for frame in viewer.frames(seconds):
        count += 1
        if asked[0] and frame.header.obeys >= asked[0]:
            times.append(1000 * (frame.at - asked[1]))
            asked = (0, 0.0)
        if frame.at >= switch_at and not asked[0]:
            number += 1
            # a quarter more or less, so that clicks fall anywhere between chunks
            switch_at += every * rng.uniform(0.75, 1.25)
            # Only this client sends controls, so their sequence ids simply count.
            asked = (viewer.welcome.sequence + number, time.monotonic())
            wear = messages.Wear(id=number, garment=names[number % len(names)])
            pending = asyncio.create_task(viewer.send(wear))
    if pending is not None:
        await pending
    return count


async def watch(url: str, names: Sequence[str], seconds: float, every: float) -> tuple[float, list[float], int]:
    """Watch as one client: frames/s, switch times and dropped frames."""
    times: list[float] = []
    async with connect(url) as viewer:
        await viewer.send(messages.Open(person=PERSON, garment=names[0], prompt=PROMPT, seed=1))
        async for _ in viewer.frames(SETTLE):
            pass
        count = await garments(viewer, names, every, seconds, times)
        viewer.forget()
        stats = await viewer.message(messages.Stats)
        await viewer.send(messages.Close())
    return count / seconds, times, stats.dropped


async def measure(viewers: int, seconds: float, every: float, threads: int | None) -> Load:
    """Measure ``viewers`` clients at once, and one more that finds no slot."""
    with server(viewers, threads) as (url, process):
        names = await bundled(url)
        watching = [asyncio.create_task(watch(url, names, seconds, every)) for _ in range(viewers)]
        await asyncio.sleep(SETTLE + seconds / 2)
        refused = await ask_in_vain(url)
        memory = process.memory_info().rss / MEGABYTE
        results = await asyncio.gather(*watching)
    times = sorted(ms for _, each, _ in results for ms in each)
    return Load(
        viewers=viewers,
        rates=sorted(round(rate, 1) for rate, _, _ in results),
        switches=len(times),
        switch_p50=round(float(np.percentile(times, 50)), 1),
        switch_p95=round(float(np.percentile(times, 95)), 1),
        dropped=sum(dropped for _, _, dropped in results),
        busy_refused=refused,
        memory=round(memory),
    )


async def ask_in_vain(url: str, tries: int = 5) -> int:
    """Count how many of ``tries`` further clients are told that the server is busy."""
    refused = 0
    for _ in range(tries):
        try:
            async with connect(url) as viewer:
                await viewer.send(messages.Close())
        except RefusedError as error:
            refused += error.problem.type.endswith(":busy")
    return refused


async def bundled(url: str) -> list[str]:
    """Fetch the ids of the bundled tops."""
    import httpx2

    async with httpx2.AsyncClient() as client:
        found = (await client.get(f"{url}/v1/garments")).json()["garments"]
    return [garment["id"] for garment in found if garment["kind"] == "top"]


async def soak(seconds: float, every: float, threads: int | None) -> dict[str, Any]:
    """Watch as one client with a switch every ``every`` seconds: memory and switch times over time."""
    memory: list[tuple[float, float]] = []
    times: list[float] = []
    with server(1, threads) as (url, process):
        names = await bundled(url)
        async with connect(url) as viewer:
            await viewer.send(messages.Open(person=PERSON, garment=names[0], prompt=PROMPT, seed=1))
            async for _ in viewer.frames(SETTLE):
                pass
            began = time.monotonic()

            async def sample() -> None:
                with tqdm(total=round(seconds), unit="s", desc="soak") as bar:
                    while (elapsed := time.monotonic() - began) < seconds:
                        memory.append((elapsed, process.memory_info().rss / MEGABYTE))
                        bar.update(min(round(elapsed), bar.total) - bar.n)
                        bar.set_postfix(
                            memory=f"{memory[-1][1]:.0f} MB", switch=f"{times[-1]:.0f} ms" if times else "-"
                        )
                        await asyncio.sleep(2)

            sampling = asyncio.create_task(sample())
            count = await garments(viewer, names, every, seconds, times)
            await sampling
    third = len(times) // 3
    later = [(at, size) for at, size in memory if at > seconds / 5]  # allocators take a while to fill their pools
    # The median of all slopes between two samples: what an allocator holds for a moment does not count.
    slope, _, low, high = theilslopes([size for _, size in later], [at / 60 for at, _ in later])
    return {
        "seconds": seconds,
        "rate": round(count / seconds, 2),
        "switches": len(times),
        "switch_p50": round(statistics.median(times), 1),
        "switch_p95": round(float(np.percentile(times, 95)), 1),
        "switch_p50_first_third": round(statistics.median(times[:third]), 1),
        "switch_p50_last_third": round(statistics.median(times[-third:]), 1),
        "memory_mb": [round(memory[0][1], 1), round(memory[-1][1], 1)],
        "memory_slope_mb_per_minute": round(float(slope), 3),
        "memory_slope_95": [round(float(low), 3), round(float(high), 3)],
        "memory": [(round(at, 1), round(size, 1)) for at, size in memory],
        "times": [round(ms, 1) for ms in times],
    }


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw memory and switch times of a soak, over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, constrained_layout=True)
    above.plot(*zip(*result["memory"], strict=True), color="#7a5c3e")
    above.set(ylabel="server's memory, MB", ylim=(0, None))
    every = result["seconds"] / max(1, len(result["times"]))
    below.plot([every * (i + 1) for i in range(len(result["times"]))], result["times"], ".", color="#a03b2a")
    below.set(xlabel="seconds", ylabel="click to frame, ms", ylim=(0, None))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)


def about(**settings: Any) -> dict[str, Any]:
    """Collect what a record says about itself."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "weights": weights_digest(MODEL / "transformer"),
        "cores": psutil.cpu_count(),
        **settings,
    }


def main() -> None:
    """Measure as the command line asks, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", default="1,2,4,8", help="how many at a time (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of every measurement (default: %(default)g)")
    parser.add_argument("--every", type=float, default=2, help="seconds between switches (default: %(default)g)")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="one viewer for so long instead")
    parser.add_argument("--threads", type=int, help="that the server computes with (default: its own choice)")
    parser.add_argument("--out", type=Path, help="JSON file (default: serve-load.json or serve-soak.json here)")
    args = parser.parse_args()
    viewers = [int(part) for part in args.viewers.split(",")]
    longest = args.soak or args.seconds
    if not all(1 <= count <= MOST_VIEWERS for count in viewers) or not 1 <= longest <= MOST_SECONDS or args.every < 0.5:
        parser.error(f"expected 1 to {MOST_VIEWERS} viewers, 1 to {MOST_SECONDS} s, switches every 0.5 s or more")
    if args.soak:
        result = asyncio.run(soak(args.soak, args.every, args.threads))
        out = args.out or HERE.parent / "serve-soak.json"
        write_json_atomic(out, about(every=args.every, threads=args.threads) | result)
        plot(result, out.with_suffix(".png"))
        for name, value in result.items():
            if name not in ("memory", "times"):
                sys.stdout.write(f"{name:30} {value}\n")
        return
    loads = []
    sys.stdout.write("viewers  frames/s each (least, median)  switch p50 / p95 ms  dropped  busy  memory MB\n")
    for count in viewers:
        load = asyncio.run(measure(count, args.seconds, args.every, args.threads))
        loads.append(asdict(load))
        sys.stdout.write(
            f"{load.viewers:7}  {load.rates[0]:14.1f} {statistics.median(load.rates):13.1f}   "
            f"{load.switch_p50:12.0f} / {load.switch_p95:.0f}  {load.dropped:9}  "
            f"{load.busy_refused}/5  {load.memory:9.0f}\n"
        )
        sys.stdout.flush()
    record = about(seconds=args.seconds, every=args.every, threads=args.threads) | {"loads": loads}
    write_json_atomic(args.out or HERE.parent / "serve-load.json", record)


if __name__ == "__main__":
    main()
