"""Ways to answer a layer's self-attention: over a whole sequence, under a mask, in teacher forcing.

All are ``transformer.SelfAttention``: they get normalised, un-rotated queries and keys [B, H, L, D] and rotate them
with positions of their own. Tokens come in frame-major order, P per latent frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from quickchange.kernels.rope import RotaryEmbedding, apply_rotary

NUM_CONDITIONS = 2  # latent frames before the video: reference at position 0, garment at 1


class SequenceAttention:
    """Full self-attention over one sequence, optionally masked.

    Args:
        rotary: rotary embedding of the model's token grid.
        positions_F: rotary frame index of every latent frame, int64.
        mask_LL: bool, True where a query (row) may look at a key (column); None for bidirectional attention.
    """

    def __init__(self, rotary: RotaryEmbedding, positions_F: Tensor, mask_LL: Tensor | None = None) -> None:
        self.cos, self.sin = rotary.cos_sin(positions_F)
        self.mask = mask_LL

    def __call__(self, layer: int, q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
        """Attend over the sequence."""
        q, k = apply_rotary(q_BHLD, self.cos, self.sin), apply_rotary(k_BHLD, self.cos, self.sin)
        return F.scaled_dot_product_attention(q, k, v_BHLD, attn_mask=self.mask)


def _by_frame(mask_FF: Tensor, tokens: int) -> Tensor:
    return mask_FF.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


def _chunk_of(frames: int, chunk: int) -> Tensor:
    """Chunk number of every video frame, -1 for the two conditions."""
    return torch.cat([torch.full((NUM_CONDITIONS,), -1), torch.arange(frames) // chunk])


def chunk_causal_mask(frames: int, chunk: int, tokens: int) -> Tensor:
    """Mask of [reference | garment | video], bool [L, L] with L = (2 + frames) * tokens.

    A chunk sees the conditions, earlier chunks and itself. The conditions see only each other.
    """
    c = _chunk_of(frames, chunk)
    return _by_frame(c[:, None] >= c[None, :], tokens)


def teacher_forcing_mask(frames: int, chunk: int, tokens: int) -> Tensor:
    """In-context teacher forcing over [clean: ref | gar | video] [noisy: ref | gar | video] (docs/method.md section 4).

    Clean tokens are chunk-causal. Noisy conditions see only each other. A noisy chunk sees the *clean* conditions,
    *clean* earlier chunks and itself. bool [2L, 2L] with L = (2 + frames) * tokens.
    """
    c = _chunk_of(frames, chunk)
    clean = c[:, None] >= c[None, :]
    video = (c >= 0)[:, None]
    noisy_to_clean = video & (c[:, None] > c[None, :])
    noisy_to_noisy = c[:, None] == c[None, :]
    top = torch.cat([clean, torch.zeros_like(clean)], 1)
    return _by_frame(torch.cat([top, torch.cat([noisy_to_clean, noisy_to_noisy], 1)], 0), tokens)


class TeacherForcingAttention:
    """In-context teacher forcing without a mask and without the tokens that nobody reads.

    The noisy copy of the conditions and the last clean chunk influence no loss, so they are left out, and several
    noisy copies share one clean copy. Sequence: [ref | gar | clean video without its last chunk | noisy copy 1 | ...].
    Every group is one dense attention over what it may see plus itself. Equal to ``teacher_forcing_mask`` on the
    noisy video (tested).

    A video that outgrows ``window`` is treated as the cache treats it (FIFO, positions "auto"): a chunk sees the sink
    and the newest chunks that fit, at positions counted over what is visible.

    Args:
        rotary: rotary embedding of the token grid.
        frames: latent frames of the video, a multiple of ``chunk``.
        chunk: latent frames per chunk.
        copies: noisy copies.
        window: latent frames that the cache holds, conditions and current chunk included; None for no limit.
        sink: chunks that never leave.
        part: "all", or one of two passes: "clean" keeps keys and values of the sequence up to the noisy copies, and
            "noisy" answers the noisy copies from them, as if a cache had held them. Run the first without gradients:
            nothing of it is stored for the backward pass then.
        held: what the pass over the clean part has kept; for "noisy".
    """

    def __init__(
        self,
        rotary: RotaryEmbedding,
        frames: int,
        chunk: int,
        copies: int = 1,
        window: int | None = None,
        sink: int = 1,
        *,
        part: Literal["all", "clean", "noisy"] = "all",
        held: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        if frames % chunk:
            raise ValueError(f"the clip has {frames} latent frames; expected a multiple of the chunk {chunk}")
        video = torch.arange(NUM_CONDITIONS, NUM_CONDITIONS + frames)
        clean = torch.arange(NUM_CONDITIONS + frames - chunk)
        self.rotary = rotary
        self.cos, self.sin = rotary.cos_sin(clean if part == "clean" else torch.cat([clean, video.repeat(copies)]))
        self.frames, self.chunk, self.copies = frames, chunk, 0 if part == "clean" else copies
        self.part, self.held_kv = part, list(held)
        self.chunks, self.sink = frames // chunk, sink
        # In chunks, the current one included:
        self.held = self.chunks if window is None else (window - NUM_CONDITIONS) // chunk

    def __call__(self, layer: int, q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
        """Attend group by group: what each may see, plus itself."""
        p = self.rotary.tokens_per_frame
        width, conditions = self.chunk * p, NUM_CONDITIONS * p
        clean = conditions + (self.frames - self.chunk) * p
        raw_q, raw_k, v = q_BHLD, k_BHLD, v_BHLD
        clean_out: list[Tensor] = []
        first = 0  # token of the first query
        if self.part == "clean":
            self.held_kv.append((raw_k, v))
        if self.part == "noisy":
            first = clean
            raw_k, v = (torch.cat(pair, 2) for pair in zip(self.held_kv[layer], (raw_k, v), strict=True))
        q = apply_rotary(raw_q, self.cos[first:], self.sin[first:])
        k = apply_rotary(raw_k, self.cos, self.sin)
        if self.part != "noisy":
            head = F.scaled_dot_product_attention(q[:, :, :conditions], k[:, :, :conditions], v[:, :, :conditions])
            clean_out.append(head)
        noisy_out: list[list[Tensor]] = [[] for _ in range(self.copies)]
        for i in range(self.chunks):
            past = conditions + i * width
            has_clean = i < self.chunks - 1 and self.part != "noisy"
            starts = [past] if has_clean else []
            starts += [clean + copy * self.frames * p + i * width for copy in range(self.copies)]
            if not starts:
                break
            if i < self.held:
                keys, values = (
                    torch.cat([torch.cat([x[:, :, :past], x[:, :, s : s + width]], 2) for s in starts]) for x in (k, v)
                )
                asked = torch.cat([q[:, :, s - first : s - first + width] for s in starts])
            else:
                kept, newest = conditions + self.sink * width, past - (self.held - 1 - self.sink) * width
                keys, values = (
                    torch.cat(
                        [torch.cat([x[:, :, :kept], x[:, :, newest:past], x[:, :, s : s + width]], 2) for s in starts]
                    )
                    for x in (raw_k, v)
                )
                asked = torch.cat([raw_q[:, :, s - first : s - first + width] for s in starts])
                cos, sin = self.rotary.cos_sin(torch.arange(NUM_CONDITIONS + self.held * self.chunk))
                keys = apply_rotary(keys, cos, sin)
                asked = apply_rotary(asked, cos[-width:], sin[-width:])
            out = F.scaled_dot_product_attention(asked, keys, values).chunk(len(starts))
            if has_clean:
                clean_out.append(out[0])
            for copy in range(self.copies):
                noisy_out[copy].append(out[copy - self.copies])
        return torch.cat(clean_out + [part for copy in noisy_out for part in copy], 2)
