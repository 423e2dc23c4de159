"""One layer's part of the cache: where its keys and values lie, and what its queries may see.

Shape suffixes: B batch, H heads, F latent frames, P tokens per frame, L = F*P new tokens, S slots of the window,
K visible tokens (channel pairs in cos_LK, sin_LK), D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quickchange.cache.threads import Entry
from quickchange.errors import IllegalTransitionError
from quickchange.kernels.rope import apply_rotary


def to_device(values: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A small tensor from host numbers; on an accelerator through pinned memory, so that the host does not wait."""
    host = torch.tensor(values, dtype=dtype, pin_memory=device.type == "cuda")
    return host.to(device, non_blocking=True)


class SlotIndex:
    """Some slots of tensors [B, H, S, P, D].

    A slice where they are contiguous, so that reading is a view; otherwise an index on the device.
    """

    def __init__(self, slots: Sequence[int], device: torch.device) -> None:
        first, end = slots[0], slots[0] + len(slots)
        contiguous = list(slots) == list(range(first, end))
        self._at: slice | Tensor = slice(first, end) if contiguous else to_device(slots, torch.int64, device)

    def read(self, x_BHSPD: Tensor) -> Tensor:
        """[B, H, F, P, D]."""
        return x_BHSPD[:, :, self._at] if isinstance(self._at, slice) else x_BHSPD.index_select(2, self._at)

    def write(self, x_BHSPD: Tensor, new_BHFPD: Tensor) -> None:
        """Overwrites the slots in place."""
        if isinstance(self._at, slice):
            x_BHSPD[:, :, self._at] = new_BHFPD
        else:
            x_BHSPD.index_copy_(2, self._at, new_BHFPD.to(x_BHSPD.dtype))


@dataclass(frozen=True)
class Frames:
    """The frames of the open pass and everything that layers need of them, prepared once.

    Attributes:
        entries: what ``commit`` will file.
        evicted: what had to leave for them.
        positions_F: rotary frame indices, int64, on the device.
        cos_LK, sin_LK: rotation of their tokens, float32 [F*P, D/2].
        slots: where they are written.
        past: the other visible slots; None while the conditions are written.
        prefix: number of leading slots that contain all visible ones.
        mask_111K: bool [1, 1, 1, prefix * P], True where visible; None if the whole prefix is.
    """

    entries: tuple[Entry, ...]
    evicted: tuple[Entry, ...]
    positions_F: Tensor
    cos_LK: Tensor
    sin_LK: Tensor
    slots: SlotIndex
    past: SlotIndex | None
    prefix: int
    mask_111K: Tensor | None


class LayerCache:
    """Keys and values of one layer, [B, H, S, P, D] each, and the pass that is open on them."""

    def __init__(self, k_raw: Tensor, k_rot: Tensor, v: Tensor) -> None:
        self.k_raw, self.k_rot, self.v = k_raw, k_rot, v
        self.open: Frames | None = None

    @property
    def frames(self) -> Frames:
        """The open pass; IllegalTransitionError if there is none."""
        if self.open is None:
            raise IllegalTransitionError("no pass is open; call begin_conditions() or begin_chunk() first")
        return self.open

    def rotate(self, x_BHLD: Tensor) -> Tensor:
        """Queries (or keys) of the open pass's frames, rotated for their positions."""
        return apply_rotary(x_BHLD, self.frames.cos_LK, self.frames.sin_LK)

    def update(self, k_BHLD: Tensor, v_BHLD: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Writes the open pass's keys and values, returns what its queries may see.

        Every denoising pass overwrites the same slots.

        Where a gradient has to flow through the new keys or values, what is returned is a copy of the past joined
        with them, since later passes overwrite the slots; otherwise it is a view of the cache.

        Args:
            k_BHLD: normalised keys, not rotated, tokens in frame-major order.
            v_BHLD: values.

        Returns:
            (rotated keys, values, mask): [B, H, K, D] twice, in any order of frames, and a bool mask for
            ``scaled_dot_product_attention``, or None if everything is visible.

        Raises:
            IllegalTransitionError: no pass is open.
        """
        frames = self.frames
        k_rot_BHLD = self.rotate(k_BHLD)
        by_frame = (len(frames.entries), -1)
        for store, new_BHLD in ((self.k_raw, k_BHLD), (self.k_rot, k_rot_BHLD), (self.v, v_BHLD)):
            frames.slots.write(store, new_BHLD.detach().unflatten(2, by_frame))
        if torch.is_grad_enabled() and (k_BHLD.requires_grad or v_BHLD.requires_grad):
            return _join(frames.past, self.k_rot, k_rot_BHLD), _join(frames.past, self.v, v_BHLD), None
        visible = slice(frames.prefix)
        return self.k_rot[:, :, visible].flatten(2, 3), self.v[:, :, visible].flatten(2, 3), frames.mask_111K

    def reposition(self, slots: SlotIndex, cos_LK: Tensor, sin_LK: Tensor) -> None:
        """Rotates the raw keys of ``slots`` anew."""
        raw_BHFPD = slots.read(self.k_raw)
        rotated_BHLD = apply_rotary(raw_BHFPD.flatten(2, 3), cos_LK, sin_LK)
        slots.write(self.k_rot, rotated_BHLD.unflatten(2, raw_BHFPD.shape[2:4]))


def _join(past: SlotIndex | None, store_BHSPD: Tensor, new_BHLD: Tensor) -> Tensor:
    new = new_BHLD.to(store_BHSPD.dtype)
    return new if past is None else torch.cat([past.read(store_BHSPD).flatten(2, 3), new], 2)
