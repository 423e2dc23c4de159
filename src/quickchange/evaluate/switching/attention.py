"""Shares of self-attention on the reference, the garment, history and the chunk itself.

The paper's analysis behind rescheduling (FashionChameleon section 3.4): if only the garment is new, attention still
rests on history that shows the old one. ``AttentionMass`` replaces the cache's attention and computes the same outputs
with explicit probabilities. It is slow and only for measuring.

History has more tokens than the garment, so uniform attention would already favour it. Each share is therefore reported
with its number of latent frames, which all have equally many tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickchange.cache import KVCache
from quickchange.cache.layers import Frames
from quickchange.cache.threads import HISTORY
from quickchange.engine.session import Session
from quickchange.engine.studio import Studio
from quickchange.evaluate.protocol import CHUNKS_BEFORE
from quickchange.evaluate.statistics import bootstrap
from quickchange.media.images import PlacedGarment
from quickchange.world import Clip

GROUPS = ("reference", "garment", "history", "itself")
MOMENTS = ("last before", "first after", "second after")
VARIANTS = ("refresh", "full", "recache")


class AttentionMass:
    """A ``transformer.SelfAttention`` through the cache that records the attention of the last chunk's queries.

    Passes of the conditions are not counted. Chunks that a switch recomputes count as chunks, so the recorded mass is
    that of a generated chunk only after one has followed.
    """

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self._chunk: Frames | None = None
        self._shares: list[Tensor] = []
        self._seen: tuple[int, ...] = ()

    @property
    def mass(self) -> Tensor:
        """Shares of attention in the last chunk, f64[passes, layers, len(GROUPS)].

        They are means over heads and queries and sum to one over the groups. The passes are the denoising steps, then
        the one at t = 0.

        Raises:
            ValueError: no chunk was generated yet.
        """
        if not self._shares:
            raise ValueError("no chunk was generated under watch; generate one first")
        return torch.stack(self._shares).unflatten(0, (-1, self.cache.config.layers))

    @property
    def seen(self) -> tuple[int, ...]:
        """Latent frames of every group that the last chunk could attend to, [len(GROUPS)].

        Raises:
            ValueError: no chunk was generated yet.
        """
        if self._chunk is None:
            raise ValueError("no chunk was generated under watch; generate one first")
        return self._seen

    def __call__(self, layer: int, q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
        """Attend as the cache does, and record the shares where the queries are a chunk's."""
        view = self.cache.layer(layer)
        k, v, mask = view.update(k_BHLD, v_BHLD)
        q = view.rotate(q_BHLD)
        logits = q.float() @ k.float().transpose(2, 3) * q.shape[-1] ** -0.5
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        probability = logits.softmax(-1)
        frames = view.frames
        if frames.entries[0].thread == HISTORY:
            if frames is not self._chunk:
                self._chunk, self._shares, self._seen = frames, [], self._count()
            slot_S = probability.unflatten(3, (frames.prefix, -1)).sum(4).mean((0, 1, 2)).double().cpu()
            self._shares.append(self._by_group(slot_S))
        return (probability @ v.float()).to(q_BHLD.dtype)

    def _by_group(self, slot_S: Tensor) -> Tensor:
        shares = torch.zeros(len(GROUPS), dtype=torch.float64)
        for slot, group in self._groups():
            shares[group] += slot_S[slot]
        return shares

    def _count(self) -> tuple[int, ...]:
        groups = [group for _, group in self._groups()]
        return tuple(groups.count(number) for number in range(len(GROUPS)))

    def _groups(self) -> Iterator[tuple[int, int]]:
        """Slot and number of the group of everything visible."""
        own = {entry.slot for entry in self.cache.ledger.writing}
        for entry in self.cache.visible:
            yield entry.slot, GROUPS.index("itself" if entry.slot in own else entry.thread.name)


@contextmanager
def watch_attention(session: Session) -> Iterator[AttentionMass]:
    """Measure a session's attention while the context lasts."""
    rollout = session.rollout
    before = rollout.attention
    watching = AttentionMass(session.cache)
    rollout.attention = watching
    try:
        yield watching
    finally:
        rollout.attention = before


@dataclass(frozen=True, eq=False)
class Look:
    """Attention of one stream in the denoising steps of the chunks of ``MOMENTS``.

    Attributes:
        shares: f64[moments, layers, groups].
        seen: latent frames that could be attended to, [moments][groups].
    """

    shares: NDArray[np.float64]
    seen: tuple[tuple[int, ...], ...]


def stream_look(studio: Studio, clip: Clip, variant: str, before: int = CHUNKS_BEFORE) -> Look:
    """Stream ``before`` chunks in garment A, switch to B, stream two more, and measure the last three.

    Raises:
        ValueError: the clip was rendered without garment B.
    """
    if clip.garment_b is None:
        raise ValueError(f"seed {clip.spec.seed} was rendered without its second garment; use both=True or switch_at")
    seed = clip.spec.seed
    shares: list[NDArray[np.float64]] = []
    seen: list[tuple[int, ...]] = []
    with (
        studio.open(clip.reference, PlacedGarment(clip.garment), clip.prompt.dynamic, seed, variant=variant) as session,
        watch_attention(session) as watching,
    ):
        for _ in range(before - 1):
            next(session)
        for moment in range(len(MOMENTS)):
            if moment == 1:
                session.wear(PlacedGarment(clip.garment_b))
            next(session)
            # Without the pass at t = 0, which makes keys for later and no picture.
            shares.append(watching.mass[:-1].mean(0).numpy())
            seen.append(watching.seen)
    return Look(np.stack(shares), tuple(seen))


def attention_record(looks: Mapping[str, Sequence[Look]]) -> dict[str, Any]:
    """Means over seeds with bootstrap 95 % intervals, as plain data.

    Returns:
        For every variant and moment, the latent frames ``seen``, the ``share`` of every group as [mean, low, high], and
        ``by_layer``, means [layers][groups].
    """
    record: dict[str, Any] = {}
    for variant, own in looks.items():
        shares = np.stack([look.shares for look in own])
        record[variant] = {}
        for number, moment in enumerate(MOMENTS):
            at = shares[:, number]
            ends = {name: bootstrap(list(at.mean(1)[:, g]), "mean") for g, name in enumerate(GROUPS)}
            record[variant][moment] = {
                "n": len(own),
                "seen": dict(zip(GROUPS, own[0].seen[number], strict=True)),
                "share": {name: [round(value, 4) for value in found] for name, found in ends.items()},
                "by_layer": at.mean(0).round(4).tolist(),
            }
    return record


def attention_tables(record: Mapping[str, Any]) -> str:
    """Two Markdown tables: shares in per cent with intervals, and the share of history layer by layer."""
    lines = ["| variant | chunk | frames seen | " + " | ".join(GROUPS) + " |", "|---" * (3 + len(GROUPS)) + "|"]
    for variant, moments in record.items():
        for moment, found in moments.items():
            cells = [f"{100 * m:.1f} ({100 * a:.1f}-{100 * b:.1f})" for m, a, b in found["share"].values()]
            seen = " + ".join(str(count) for count in found["seen"].values())
            lines.append(f"| {variant} | {moment} | {seen} | " + " | ".join(cells) + " |")
    layers = len(next(iter(record.values()))[MOMENTS[0]]["by_layer"])
    lines += ["", "| history, by layer | chunk | " + " | ".join(str(layer) for layer in range(layers)) + " |"]
    lines += ["|---" * (2 + layers) + "|"]
    for variant, moments in record.items():
        for moment, found in moments.items():
            shares = [f"{100 * layer[GROUPS.index('history')]:.0f}" for layer in found["by_layer"]]
            lines.append(f"| {variant} | {moment} | " + " | ".join(shares) + " |")
    return "\n".join(lines) + "\n"
