"""Switches: what each list of moves leaves visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from quickchange.cache import KVCache
from quickchange.cache.threads import GARMENT, HISTORY, REFERENCE
from quickchange.engine.switch import NEW_REFERENCE, VARIANTS, Moves, Outcome, Source, source_of, switch
from quickchange.errors import IllegalTransitionError

MakeStream = Callable[..., Any]


class Stream:
    """A rollout without a network: latents are forwarded as if they were keys and values."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.cache = stream, stream.cache
        self.latents: list[torch.Tensor] = []

    def switch(self, moves: Moves) -> Outcome:
        reference = encode(f"person {source_of(moves).name}")
        return switch(moves, self, reference=reference, garment=encode("dress"), history=self.latents)  # type: ignore[arg-type]

    def conditions(self, reference_BCFHW: torch.Tensor, garment_BCFHW: torch.Tensor) -> None:
        self.cache.begin_conditions()
        self.stream.write(torch.cat([reference_BCFHW, garment_BCFHW], 4))
        self.cache.commit()

    def recache(self, latents_BCFHW: Sequence[torch.Tensor]) -> None:
        for kv in latents_BCFHW:
            self.generate(kv)

    def generate(self, kv: torch.Tensor) -> list[torch.Tensor]:
        self.cache.begin_chunk()
        seen = [self.cache.layer(layer).update(*kv[layer]) for layer in range(2)]
        out = [F.scaled_dot_product_attention(kv[0, 0], k, v, attn_mask=mask) for k, v, mask in seen]
        self.cache.commit()
        return out

    def run(self, chunks: int) -> None:
        for _ in range(chunks):
            self.latents.append(self.stream.randn(3))
            self.generate(self.latents[-1])


def encode(name: str) -> torch.Tensor:
    return torch.randn((2, 2, 1, 2, 2, 8), generator=torch.Generator().manual_seed(sum(name.encode())))


@pytest.fixture
def opened(stream: MakeStream) -> Callable[..., Stream]:
    def make(chunks: int = 5, **sizes: object) -> Stream:
        opened = Stream(stream(**sizes).open())
        opened.run(chunks)
        return opened

    return make


@pytest.mark.parametrize("mode", ["auto", "segment", "window"])
def test_full_switch_leaves_a_fresh_cache(opened: Callable[..., Stream], stream: MakeStream, mode: str) -> None:
    used = opened(positions=mode)
    outcome = used.switch(VARIANTS["full"])
    assert outcome.new_segment
    assert len(outcome.withdrawn) == 9

    fresh = Stream(stream(positions=mode))
    for thread in (REFERENCE, GARMENT):
        fresh.cache.bump(thread)
    fresh.conditions(encode(f"person {Source.LAST_FRAME.name}"), encode("dress"))

    def entries(cache: KVCache) -> list[tuple[object, ...]]:
        return [(e.thread, e.position, e.pinned, e.state, e.carried) for e in cache.entries]

    for _ in range(5):
        assert entries(used.cache) == entries(fresh.cache)
        kv = used.stream.randn(3)
        assert all(map(torch.equal, used.generate(kv), fresh.generate(kv)))


# For every variant after five chunks (frames 0..14 in a window of 2 + 9): the reference asked for, the frames that
# the next chunk sees, and whether a new segment begins. Recomputed frames get new numbers.
EXPECTED: dict[str, tuple[str, list[int], bool]] = {
    "full": ("LAST_FRAME", [], True),
    "full+sink": ("LAST_FRAME", [0, 1, 2], True),
    "refresh": ("CURRENT", [0, 1, 2, 9, 10, 11, 12, 13, 14], False),
    "refresh+withdraw": ("CURRENT", [], True),
    "refresh+withdraw+sink": ("CURRENT", [0, 1, 2], True),
    "original_reference": ("ORIGINAL", [], True),
    "original_reference+sink": ("ORIGINAL", [0, 1, 2], True),
    "random_reference": ("RANDOM", [], True),
    "random_reference+sink": ("RANDOM", [0, 1, 2], True),
    "last_latent": ("LAST_LATENT", [], True),
    "last_latent+sink": ("LAST_LATENT", [0, 1, 2], True),
    "recache": ("CURRENT", [15, 16, 17, 18, 19, 20, 21, 22, 23], False),
    "recache+sink": ("CURRENT", [0, 1, 2, 15, 16, 17, 18, 19, 20], False),
}


def test_every_variant_is_described() -> None:
    assert set(VARIANTS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("mode", ["auto", "segment", "window"])
def test_variants(opened: Callable[..., Stream], name: str, mode: str) -> None:
    reference, frames, new_segment = EXPECTED[name]
    s = opened(positions=mode)
    outcome = s.switch(VARIANTS[name])
    assert source_of(VARIANTS[name]).name == reference
    assert outcome.new_segment is new_segment
    assert s.cache.versions.of(GARMENT) == 2
    assert s.cache.versions.of(REFERENCE) == (1 if reference == "CURRENT" else 2)
    seen = [entry for entry in s.cache.visible if entry.thread == HISTORY]
    assert [entry.frame for entry in seen] == frames
    assert all(entry.carried == (entry.versions.of(GARMENT) == 1) for entry in seen)
    if name != "refresh":
        assert [entry.position for entry in seen] == list(range(2, 2 + len(seen)))
    s.run(4)
    assert sum(entry.pinned for entry in s.cache.entries) == 2 + 3, "there is a sink again"


def test_recomputed_frames_hold_the_same_latents(opened: Callable[..., Stream]) -> None:
    s = opened(chunks=3)
    before = s.cache.v[:, :, :, 2:11].clone()
    s.switch(VARIANTS["recache"])
    assert torch.equal(before, s.cache.v[:, :, :, 2:11])
    assert {entry.versions.of(GARMENT) for entry in s.cache.entries} == {2}


def test_a_switch_before_the_first_chunk(opened: Callable[..., Stream]) -> None:
    for name, moves in VARIANTS.items():
        s = opened(chunks=0)
        outcome = s.switch(moves)
        assert outcome.withdrawn == (), name
        s.run(1)
        assert [entry.position for entry in s.cache.visible] == [0, 1, 2, 3, 4]


def test_a_new_person_keeps_the_garment_version(opened: Callable[..., Stream]) -> None:
    s = opened()
    s.switch(NEW_REFERENCE)
    assert (s.cache.versions.of(REFERENCE), s.cache.versions.of(GARMENT), len(s.cache.visible)) == (2, 1, 2)


def test_not_in_the_middle_of_a_chunk(opened: Callable[..., Stream]) -> None:
    s = opened()
    s.cache.begin_chunk()
    with pytest.raises(IllegalTransitionError, match="a chunk is being written"):
        s.switch(VARIANTS["full"])
