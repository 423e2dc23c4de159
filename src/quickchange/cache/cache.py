"""The KV cache: static tensors per layer, driven by the ledger.

Keys are stored twice: raw, and rotated for the position that the ledger gives. When positions change, only those
entries are rotated again, once per chunk. Slots are overwritten in place. All indices are prepared when a pass begins,
so inside a pass nothing is allocated for the past, nothing is moved, and the host never waits for the device.

The cache does not know the network. A layer passes in keys and values, and gets back those that its queries may see.

Shape suffixes: see ``layers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quickchange.cache.layers import Frames, LayerCache, SlotIndex, to_device
from quickchange.cache.ledger import Ledger, WindowConfig
from quickchange.cache.policies import Policy
from quickchange.cache.threads import HISTORY, TEXT, Entry, Thread, Versions
from quickchange.errors import IllegalTransitionError
from quickchange.kernels.rope import RotaryEmbedding


@dataclass(frozen=True, kw_only=True)
class CacheConfig(WindowConfig):
    """Size of the cache: the window, and the network's part.

    Attributes:
        layers: self-attention layers.
        heads: attention heads.
        head_dim: channels per head, even.
        tokens_per_frame: tokens of one latent frame.

    Raises:
        ValueError: a number out of range.
    """

    layers: int
    heads: int
    head_dim: int
    tokens_per_frame: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "heads", "head_dim", "tokens_per_frame"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1; take it from the model's config")
        if self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; expected an even number: channels are rotated in pairs")


@dataclass(frozen=True)
class Snapshot:
    """A copy of the whole cache, independent of it. Holds as much memory as the cache."""

    ledger: Ledger
    rotated_at: tuple[int, ...]
    k_raw: Tensor
    k_rot: Tensor
    v: Tensor
    text: Any


class KVCache:
    """See the module header. One instance per stream; its tensors keep their addresses for life.

    Args:
        config: sizes.
        rotary: rotary embedding of the model's token grid, on the same device.
        batch: streams side by side, with the same switches.
        device, dtype: of the stored keys and values.
        policy: what leaves when the window is full.

    Attributes:
        observer: called with the ledger after every transition, or None.

    Raises:
        ValueError: the rotary embedding belongs to another model.
    """

    def __init__(
        self,
        config: CacheConfig,
        rotary: RotaryEmbedding,
        *,
        batch: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        policy: Policy | None = None,
    ) -> None:
        if (rotary.head_dim, rotary.tokens_per_frame) != (config.head_dim, config.tokens_per_frame):
            raise ValueError(
                f"rotary embedding has head_dim {rotary.head_dim} and {rotary.tokens_per_frame} tokens per frame; the "
                f"cache expects {config.head_dim} and {config.tokens_per_frame}; build both from the same model config"
            )
        self.config, self.rotary, self.policy = config, rotary, policy or Policy()
        self.device = torch.device(device)
        self.observer: Callable[[Ledger], None] | None = None
        shape = (config.layers, batch, config.heads, config.window, config.tokens_per_frame, config.head_dim)
        # Zeros, not empty: masked keys still enter the product, and garbage may be NaN.
        self.k_raw, self.k_rot, self.v = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(3))
        self._layers = [LayerCache(*stores) for stores in zip(self.k_raw, self.k_rot, self.v, strict=True)]
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the tensors stay where they are."""
        self._close(Ledger.empty(self.config))
        self._text: Any = None
        self._rotated_at = [-1] * self.config.window

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The current ledger, immutable. Assigning a new one notifies ``observer``."""
        return self._ledger

    @ledger.setter
    def ledger(self, ledger: Ledger) -> None:
        self._ledger = ledger
        if self.observer is not None:
            self.observer(ledger)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything committed: conditions, then history from old to new."""
        return self.ledger.entries

    @property
    def visible(self) -> tuple[Entry, ...]:
        """Entries that the open pass sees, or the next chunk if none is open."""
        return self.ledger.visible

    @property
    def versions(self) -> Versions:
        """Versions in force."""
        return self.ledger.versions

    @property
    def segment(self) -> int:
        """Number of the current segment, from 0."""
        return self.ledger.segment

    @property
    def text(self) -> Any:
        """What ``set_text`` stored; IllegalTransitionError unless it belongs to the prompt in force."""
        if self._text is None or self.ledger.text_version != self.versions.of(TEXT):
            raise IllegalTransitionError(f"no text t{self.versions.of(TEXT)} is held; call bump(TEXT), then set_text()")
        return self._text

    def table(self) -> str:
        """The whole state as text, one line per slot."""
        return self.ledger.table()

    # -- passes --------------------------------------------------------------------------------------------------------

    def begin_conditions(self, *given: Thread) -> Frames:
        """Opens the joint pass of [reference | garment], after bumping the threads ``given``.

        Both overwrite their own slots; their queries see only the two of them.
        """
        ledger = self.ledger
        for thread in given:
            ledger = ledger.bump(thread)
            self.policy.switched(thread)
        return self._begin(ledger.begin_conditions(), ())

    def begin_chunk(self) -> Frames:
        """Open the passes of the next chunk: denoising steps and the one at t = 0.

        It evicts where the window is full, and rotates anew what has another position now.
        """
        return self._begin(*self.ledger.begin_chunk(self.policy))

    def layer(self, layer: int) -> LayerCache:
        """The part that a layer's attention talks to."""
        return self._layers[layer]

    def commit(self) -> None:
        """Files the open pass's frames as live, made under the versions in force. Call it after the pass at t = 0."""
        done = self.ledger.writing
        self._close(self.ledger.commit())
        if done[0].thread == HISTORY:
            self.policy.committed(done, self._layers)

    def abort(self) -> None:
        """Gives the open pass up; its slots are free again."""
        self._close(self.ledger.abort())

    # -- switches ------------------------------------------------------------------------------------------------------

    def bump(self, thread: Thread) -> None:
        """A thread is given anew; see ``Ledger.bump``."""
        self.ledger = self.ledger.bump(thread)
        self.policy.switched(thread)

    def set_text(self, payload: Any) -> None:
        """Stores the prompt's cross-attention keys and values, after ``bump(TEXT)``.

        The cache never looks inside and never changes them.
        """
        self.ledger, self._text = self.ledger.hold_text(), payload

    def retain(self, sink_only: bool = False) -> None:
        """Makes stale history (or only its sink) visible again."""
        self.ledger = self.ledger.retain(sink_only)

    def withdraw(self) -> tuple[Entry, ...]:
        """Drops all stale history; returns what has left."""
        self.ledger, gone = self.ledger.withdraw()
        return gone

    def open_segment(self) -> None:
        """Starts a segment: positions restart."""
        self.ledger = self.ledger.open_segment()

    def rewind(self) -> None:
        """Restarts positions within the segment, to write (part of) it again."""
        self.ledger = self.ledger.rewind()

    @contextmanager
    def restored_on_error(self) -> Iterator[None]:
        """Leave ledger, prompt and conditions as they were if the block fails: for a change of prompt.

        Conditions are overwritten in place, so their keys and values are copied first (two slots of every layer).
        """
        ledger, text, rotated_at = self.ledger, self._text, list(self._rotated_at)
        at = [entry.slot for entry in ledger.conditions]
        stores = (self.k_raw, self.k_rot, self.v)
        copies = [store[:, :, :, at].clone() for store in stores]
        try:
            yield
        except BaseException:
            for store, copy in zip(stores, copies, strict=True):
                store[:, :, :, at] = copy
            self._text, self._rotated_at = text, rotated_at
            self._close(ledger)
            raise

    def snapshot(self) -> Snapshot:
        """A copy of everything; IllegalTransitionError inside a pass."""
        if self.ledger.writing:
            raise IllegalTransitionError("cannot take a snapshot inside a pass; commit() or abort() first")
        copies = self.k_raw.clone(), self.k_rot.clone(), self.v.clone()
        return Snapshot(self.ledger, tuple(self._rotated_at), *copies, self._text)

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot of this cache, bit for bit; an open pass is given up.

        Raises:
            ValueError: the snapshot is that of another cache.
        """
        if snapshot.ledger.config != self.config or snapshot.v.shape != self.v.shape:
            raise ValueError(
                f"the snapshot has config {snapshot.ledger.config} and batch {snapshot.v.shape[1]}; expected "
                f"{self.config} and {self.v.shape[1]}; restore it into a cache of the same size"
            )
        self._close(snapshot.ledger)
        self._text, self._rotated_at = snapshot.text, list(snapshot.rotated_at)
        for store, copy in ((self.k_raw, snapshot.k_raw), (self.k_rot, snapshot.k_rot), (self.v, snapshot.v)):
            store.copy_(copy)

    # ------------------------------------------------------------------------------------------------------------------

    def _begin(self, ledger: Ledger, evicted: tuple[Entry, ...]) -> Frames:
        last = ledger.writing[-1].position
        if last >= self.rotary.max_frames:
            raise IllegalTransitionError(
                f"the next frames would reach position {last}, but the rotary embedding ends at "
                f"{self.rotary.max_frames - 1}; open a new segment, use positions='auto', or enlarge max_frames"
            )
        self.ledger = ledger
        past = [entry for entry in ledger.visible if entry not in ledger.writing]
        self._reposition([entry for entry in past if self._rotated_at[entry.slot] != entry.position])
        for entry in ledger.writing:
            self._rotated_at[entry.slot] = entry.position

        positions_F = to_device([entry.position for entry in ledger.writing], torch.int64, self.device)
        seen = {entry.slot for entry in ledger.visible}
        prefix = max(seen) + 1
        mask = None
        if len(seen) < prefix:
            mask_S = to_device([slot in seen for slot in range(prefix)], torch.bool, self.device)
            mask = mask_S[:, None].expand(-1, self.config.tokens_per_frame).reshape(1, 1, 1, -1)
        frames = Frames(
            ledger.writing,
            evicted,
            positions_F,
            *self.rotary.cos_sin(positions_F),
            slots=SlotIndex([entry.slot for entry in ledger.writing], self.device),
            past=SlotIndex(sorted(entry.slot for entry in past), self.device) if past else None,
            prefix=prefix,
            mask_111K=mask,
        )
        for layer in self._layers:
            layer.open = frames
        return frames

    def _close(self, ledger: Ledger) -> None:
        self.ledger = ledger
        for layer in self._layers:
            layer.open = None

    @torch.no_grad()
    def _reposition(self, moved: list[Entry]) -> None:
        if not moved:
            return
        moved = sorted(moved, key=lambda entry: entry.slot)
        slots = SlotIndex([entry.slot for entry in moved], self.device)
        tables = self.rotary.cos_sin(to_device([entry.position for entry in moved], torch.int64, self.device))
        for layer in self._layers:
            layer.reposition(slots, *tables)
        for entry in moved:
            self._rotated_at[entry.slot] = entry.position
