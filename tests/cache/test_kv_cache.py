"""The tensors: in place, views, no waiting for the device, exact snapshots, gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from quickchange.cache import CacheConfig, Entry, KVCache, LayerCache, Policy, Thread
from quickchange.cache.threads import GARMENT, REFERENCE, TEXT
from quickchange.errors import IllegalTransitionError
from quickchange.kernels.rope import RotaryEmbedding

MakeStream = Callable[..., Any]


class Forbid(TorchDispatchMode):
    """Fails on operators that copy the past or make the host wait."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = set(names)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in self.names, f"{func} in the hot path"
        return func(*args, **(kwargs or {}))


WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")
COPYING = ("clone", "cat", "roll", "index_select", "index", "empty_like", "_to_copy")


def test_slots_are_overwritten_in_place_forever(stream: MakeStream) -> None:
    s = stream().open()
    cache: KVCache = s.cache
    addresses = [store.data_ptr() for store in (cache.k_raw, cache.k_rot, cache.v)]
    for i in range(50):
        s.chunk()
        if i % 10 == 9:
            cache.withdraw()
            s.conditions(GARMENT)
            cache.withdraw()
            cache.open_segment()
    assert addresses == [store.data_ptr() for store in (cache.k_raw, cache.k_rot, cache.v)]
    assert len(cache.entries) <= cache.config.window


def test_reads_are_views_of_the_visible_prefix(stream: MakeStream) -> None:
    s = stream().open(chunks=1)
    cache: KVCache = s.cache
    cache.begin_chunk()
    kv = s.randn(3)
    for layer in range(2):
        k, v, mask = cache.layer(layer).update(*kv[layer])
        assert mask is None
        assert k.shape == v.shape == (1, 2, 8 * 2, 8)
        assert k.data_ptr() == cache.k_rot[layer].data_ptr()
        assert v.data_ptr() == cache.v[layer].data_ptr()
        assert torch.equal(v[:, :, -6:], kv[layer, 1])
        assert torch.equal(k[:, :, -6:], cache.layer(layer).rotate(kv[layer, 0]))


def test_the_hot_path_neither_copies_the_past_nor_waits(stream: MakeStream) -> None:
    s = stream(window=12).open(chunks=5)
    cache: KVCache = s.cache
    kv = s.randn(3)
    with Forbid(*WAITING):
        cache.begin_chunk()
    with Forbid(*WAITING, *COPYING):
        s.write(kv)
    cache.commit()


def test_only_moved_entries_are_rotated_anew(stream: MakeStream) -> None:
    s = stream().open(chunks=3)
    cache: KVCache = s.cache
    cache.k_raw.zero_()  # whatever is rotated anew from now on becomes zero
    cache.begin_chunk()
    moved = [entry.slot for entry in cache.entries if not cache.k_rot[:, :, :, entry.slot].any()]
    assert moved == [8, 9, 10], "conditions and sink keep their place, the one recent chunk moves up"


def test_stale_frames_are_masked(stream: MakeStream) -> None:
    s = stream().open(chunks=1)
    cache: KVCache = s.cache
    s.conditions(GARMENT)
    cache.begin_chunk()
    kv = s.randn(3)
    k, v, mask = cache.layer(0).update(*kv[0])
    assert mask is not None
    assert mask.shape == (1, 1, 1, 16)
    assert mask.flatten().tolist() == [True] * 4 + [False] * 6 + [True] * 6
    q = cache.layer(0).rotate(s.randn(3)[0, 0])
    keep = mask.flatten()
    expected = F.scaled_dot_product_attention(q, k[:, :, keep], v[:, :, keep])
    torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), expected)


def test_snapshot_and_restore_are_exact(stream: MakeStream) -> None:
    s = stream().open(chunks=4)
    cache: KVCache = s.cache
    cache.bump(TEXT)
    cache.set_text("walking")
    saved = cache.snapshot()
    state, table = s.generator.get_state(), cache.table()

    def go_on() -> list[torch.Tensor]:
        s.generator.set_state(state)
        outputs = []
        for _ in range(3):
            cache.begin_chunk()
            kv = s.randn(3)
            outputs += [x.clone() for layer in range(2) for x in cache.layer(layer).update(*kv[layer])[:2]]
            cache.commit()
        return outputs

    first = go_on()
    cache.bump(TEXT)
    cache.set_text("turning")
    s.conditions(GARMENT)
    cache.withdraw()
    cache.open_segment()
    s.chunk()
    cache.begin_chunk()
    cache.restore(saved)
    assert (cache.table(), cache.text) == (table, "walking")
    assert all(map(torch.equal, first, go_on()))
    cache.begin_chunk()
    with pytest.raises(IllegalTransitionError, match="inside a pass"):
        cache.snapshot()
    with pytest.raises(ValueError, match="same size"):
        stream(window=14).cache.restore(saved)


def test_gradients_reach_new_keys_and_values_only(stream: MakeStream) -> None:
    s = stream().open(chunks=4)
    cache: KVCache = s.cache
    cache.begin_chunk()
    kv = s.randn(3)
    q = cache.layer(0).rotate(s.randn(3)[0, 0])
    plain = F.scaled_dot_product_attention(q, *cache.layer(0).update(*kv[0])[:2])
    leaf = kv.clone().requires_grad_()
    k, v, mask = cache.layer(0).update(*leaf[0])
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(out, plain)
    with torch.no_grad():
        s.write(s.randn(3))  # the pass at t = 0 overwrites the slots before backward
    cache.commit()
    s.chunk()
    out.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0].abs().sum(dim=(1, 2, 3, 4)).gt(0).all()
    assert not (cache.k_raw.requires_grad)
    assert not (cache.k_rot.requires_grad)
    assert not (cache.v.requires_grad)


def test_gradients_of_conditions(stream: MakeStream) -> None:
    s = stream()
    s.cache.begin_conditions(REFERENCE, GARMENT)
    leaf = s.randn(2).requires_grad_()
    k, v, _ = s.cache.layer(0).update(*leaf[0])
    (k.sum() + v.sum()).backward()
    assert leaf.grad is not None
    assert k.shape[2] == 4


def test_text_belongs_to_the_prompt_in_force(stream: MakeStream) -> None:
    cache: KVCache = stream().open().cache
    cache.bump(TEXT)
    with pytest.raises(IllegalTransitionError, match="no text t1"):
        _ = cache.text
    cache.set_text(payload := object())
    assert cache.text is payload


def test_updates_need_a_pass(stream: MakeStream) -> None:
    s = stream().open()
    with pytest.raises(IllegalTransitionError, match="no pass is open"):
        s.write(s.randn(3))


def test_segment_positions_end_with_the_table(stream: MakeStream) -> None:
    s = stream(positions="segment", max_frames=14).open(chunks=4)
    before = s.cache.table()
    with pytest.raises(IllegalTransitionError, match="would reach position 16"):
        s.cache.begin_chunk()
    assert s.cache.table() == before


class Notebook(Policy):
    """A policy that writes down what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def committed(self, entries: Sequence[Entry], layers: Sequence[LayerCache]) -> None:
        keys = layers[0].k_raw[:, :, [entry.slot for entry in entries]]
        self.notes.append(f"frames {[entry.frame for entry in entries]} written: {bool(keys.any())}")

    def switched(self, thread: Thread) -> None:
        self.notes.append(thread.name)


def test_a_policy_hears_of_chunks_and_switches(stream: MakeStream) -> None:
    s = stream()
    s.cache.policy = policy = Notebook()
    s.open(chunks=2)
    s.cache.begin_chunk()
    s.cache.abort()
    s.cache.bump(TEXT)
    assert policy.notes == [
        "reference",
        "garment",
        "frames [0, 1, 2] written: True",
        "frames [3, 4, 5] written: True",
        "text",
    ]


def test_reset_forgets_everything(stream: MakeStream) -> None:
    s = stream().open(chunks=4)
    s.cache.begin_chunk()
    s.cache.reset()
    assert s.cache.entries == ()
    assert s.cache.versions.of(GARMENT) == 0
    s.open(chunks=1)
    assert [entry.position for entry in s.cache.visible] == [0, 1, 2, 3, 4]


def test_stores_in_its_own_dtype(stream: MakeStream) -> None:
    s = stream(dtype=torch.bfloat16).open(chunks=1)
    s.cache.begin_chunk()
    k, v, _ = s.cache.layer(0).update(*s.randn(3)[0].float())
    assert k.dtype == v.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"heads": 0}, "heads is 0"), ({"head_dim": 7}, "head_dim is 7"), ({"window": 4}, "window is 4")],
)
def test_bad_sizes_are_named(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CacheConfig(**{"layers": 1, "heads": 1, "head_dim": 8, "tokens_per_frame": 2, **sizes})  # type: ignore[arg-type]


def test_the_rotary_embedding_must_fit() -> None:
    config = CacheConfig(layers=1, heads=1, head_dim=8, tokens_per_frame=2)
    with pytest.raises(ValueError, match="3 tokens per frame"):
        KVCache(config, RotaryEmbedding(8, (1, 3)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_host_never_waits_on_a_gpu(stream: MakeStream) -> None:
    s = stream(device="cuda").open(chunks=4)
    passes = [s.randn(3) for _ in range(3)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for kv in passes:
            s.cache.begin_chunk()
            s.write(kv)
            s.cache.commit()
    finally:
        torch.cuda.set_sync_debug_mode("default")
