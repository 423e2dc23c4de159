"""What tiny random models generate and learn, as digests: a change of structure must leave all of it as it is.

``python tests/golden.py`` writes ``golden.json``; the test of that name compares. Digests hold on one kind of CPU and
one torch; elsewhere kernels round differently, and the coarse values beside each digest are compared instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments.quality_reward.degraded import DegradedFrames
from experiments.quality_reward.stage import QualityData, QualityStage
from numpy.typing import NDArray

import shares
import tiny
from quickchange.data.latents import Clips
from quickchange.data.parsing_frames import Frames
from quickchange.engine.switch import VARIANTS
from quickchange.model.codec import LightCodec, LightCodecConfig
from quickchange.parsing.network import ParserConfig, PersonParser
from quickchange.parsing.reading import ATTRIBUTES
from quickchange.serve.client import connect
from quickchange.serve.protocol import messages as protocol
from quickchange.train.config import StageConfig
from quickchange.train.loop import step_generator
from quickchange.train.rewards.quality import QualityConfig, QualityScorer
from quickchange.train.stage import Stage
from quickchange.train.stages.parser import ParserStage
from quickchange.train.stages.vae import CodecStage, start_from_components
from serving import running

FILE = Path(__file__).with_suffix(".json")
CPU = torch.device("cpu")
SERVED = 24  # first frames of the served stream


def where() -> dict[str, str]:
    """What digests depend on beside the code."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "cpu": f"{model} {hashlib.sha256(flags.encode()).hexdigest()[:8]}",
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """The number of threads decides the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def digest(*arrays: NDArray[Any]) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(str((array.dtype.str, array.shape)).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:32]


def of_frames(frames: NDArray[np.uint8]) -> dict[str, Any]:
    """Digest of uint8 [T, H, W, 3], and means of blocks of 8x8 pixels of every seventh frame."""
    some = frames[::7].astype(np.float64)
    t, h, w, c = some.shape
    blocks = some.reshape(t, h // 8, 8, w // 8, 8, c).mean((2, 4))
    return {"digest": digest(frames), "coarse": np.round(blocks, 1).ravel().tolist()}


def streams() -> dict[str, dict[str, Any]]:
    """Every variant of a switch, and a stream with every control in it."""
    studio, made = tiny.studio(), {}
    for variant in VARIANTS:
        with studio.open(tiny.image(1), tiny.garment(2), "she waves", 5, variant=variant) as session:
            chunks = list(islice(session, 4))
            session.wear(tiny.garment(3))
            chunks += islice(session, 3)
            session.wear(tiny.garment(4))
            chunks += islice(session, 2)
        made[f"variant {variant}"] = of_frames(np.concatenate([chunk.frames for chunk in chunks]))
    with studio.open(tiny.image(1), tiny.garment(2), "she waves", 6) as session:
        chunks = [session.advance(settle=False) for _ in range(3)]
        session.flush(chunks[-1].start + 4)
        session.wear(tiny.garment(3))
        chunks += [session.advance(settle=False) for _ in range(2)]
        session.say("he turns to the left")
        chunks += islice(session, 2)
        session.reference(tiny.image(7))
        chunks += islice(session, 2)
        session.reference(tiny.image(8))
        session.wear(tiny.image(9, 40, 40))
        chunks += islice(session, 9)  # longer than the window
    made["controls"] = of_frames(np.concatenate([chunk.frames for chunk in chunks]))
    return made


def served() -> list[str]:
    """Digests of the first frames that a viewer gets, as JPEG."""

    async def watch(url: str, person: str, garment: str) -> list[str]:
        pictures: dict[int, bytes] = {}
        async with connect(url, codecs=["jpeg"]) as viewer:
            await viewer.send(protocol.Open(person=person, garment=garment, prompt="she waves", seed=21))
            async for frame in viewer.frames(2.0):
                pictures[frame.header.number] = frame.data
            await viewer.send(protocol.Close())
        return [digest(np.frombuffer(pictures.get(number, b""), np.uint8)) for number in range(SERVED)]

    with running(max_sessions=2) as server:
        catalogue = server.registry.catalogue
        return asyncio.run(watch(server.url, catalogue.people[0].id, catalogue.garments[0].id))


def _frames(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(11).integers(0, 256, shape, dtype=np.uint8)


def codec_stage() -> Stage:
    video = _frames(4, 21, tiny.HEIGHT, tiny.WIDTH, 3)
    clips = Clips(video, video[..., 0] % 4, video[:, 0], video[:, 1], [("A.", "B.")] * 4, list(range(4)))
    torch.manual_seed(1)
    codec = LightCodec(LightCodecConfig(latent_channels=4, spatial=8, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    start_from_components(codec, clips)
    config = StageConfig(steps=4, batch=2, learning_rate=1e-3, precision="fp32", options=CodecStage.Options(frames=9))
    return CodecStage(codec, clips, config, CPU, lambda: None)


def parser_stage() -> Stage:
    torch.manual_seed(1)
    parser = PersonParser(ParserConfig(widths=(8, 12, 16, 16), attribute_width=16))
    frames, rng = _frames(6, 32, 32, 3), np.random.default_rng(2)
    points = rng.uniform(4, 28, (6, 17, 3)).astype(np.float32)
    points[..., 2] = 2
    data = Frames(frames, frames[..., 0] % 5, points, np.zeros((6, len(ATTRIBUTES)), np.int64))
    config = StageConfig(steps=4, batch=4, learning_rate=1e-3, precision="fp32", options=ParserStage.Options())
    return ParserStage(parser, data, config, CPU, lambda: None)


def quality_stage(out: Path) -> Stage:
    torch.manual_seed(1)
    frames = _frames(8, 32, 32, 3)
    clip = np.arange(8) % 2
    deep = DegradedFrames("stream", frames, clip, depth=1 + np.arange(8) % 3)
    data = QualityData(frames[:2], frames, np.linspace(0, 0.3, 8, dtype=np.float32), clip, deep, frames[2:4])
    config = StageConfig(steps=4, batch=4, learning_rate=1e-3, precision="fp32")
    return QualityStage(QualityScorer(QualityConfig()), data, config, out)


def one_step(stage: Stage) -> dict[str, Any]:
    """Losses of a step and what it made of the weights."""
    values = stage.update(1, step_generator(3, 1))
    weights = [p.detach().numpy() for module in stage.trained.values() for p in module.parameters()]
    coarse = [float(value) for _, value in sorted(values.items())]
    coarse += [float(np.abs(weight).mean()) for weight in weights]
    return {"digest": digest(*(np.asarray(value, np.float32) for value in coarse), *weights), "coarse": coarse}


def steps() -> dict[str, dict[str, Any]]:
    """One step of every stage."""
    nowhere = Path("unused")
    stages: dict[str, Stage] = {name: shares.stage(name, nowhere, 4) for name in shares.OPTIONS}
    stages |= {"vae": codec_stage(), "parser": parser_stage(), "quality": quality_stage(nowhere)}
    return {name: one_step(stage) for name, stage in stages.items()}


def everything() -> dict[str, Any]:
    with one_thread():
        return {"where": where(), "streams": streams(), "steps": steps(), "served": served()}


if __name__ == "__main__":
    sys.stdout.write(f"{FILE}\n")
    FILE.write_text(json.dumps(everything(), indent=0) + "\n")
