"""Wan's autoencoder as a streaming codec: diffusers' ``AutoencoderKLWan`` at any size, its memory held outside.

Every causal convolution of the network remembers its last two input frames. diffusers keeps these in attributes of
the module and clears them with every call; here they live in a ``WanState`` per stream, so that one network serves any
number of streams, chunk by chunk, at constant memory.

Both directions go through the network one latent frame at a time, and nothing else would be exact: a latent's place in
a larger batch of frames changes which convolution algorithm runs and so the last bits, and the second latent of a
segment is treated unlike all later ones (its temporal upsampling sees zeros where later latents see the past).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quickchange.files import reading_model, save_safetensors_atomic, write_json_atomic
from quickchange.model.codec import TEMPORAL, check_frames


class WanState:
    """Memory of one stream in one direction: per causal convolution its last inputs (None before the first)."""

    def __init__(self, convolutions: int) -> None:
        self.features: list[Any] = [None] * convolutions
        self.size: tuple[int, ...] | None = None

    @property
    def started(self) -> bool:
        """Whether the stream has begun."""
        return self.size is not None

    def enter(self, tensor_BCTHW: Tensor) -> None:
        """Fixes batch and size with the stream's first tensor. ValueError if a later one differs."""
        size = (tensor_BCTHW.shape[0], *tensor_BCTHW.shape[3:])
        if self.size not in (None, size):
            raise ValueError(f"batch, height, width are {size}; this stream began with {self.size}: take a new state")
        self.size = size


class EncoderState(WanState):
    """Memory of an encoder stream."""


class DecoderState(WanState):
    """Memory of a decoder stream, i.e. of one segment."""


class WanCodec(nn.Module):
    """``Codec`` of Wan2.1 and Wan2.2 (48 channels, 16 pixels per cell); the network's config decides.

    Latents are scaled per channel as the transformer expects them: ``(z - latents_mean) / latents_std``. Input is cast
    to the network's dtype.
    """

    temporal = TEMPORAL

    def __init__(self, vae: Any) -> None:
        """Takes an ``AutoencoderKLWan``. ValueError if it does not compress time by 4 or its statistics do not fit."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

        super().__init__()
        config = vae.config
        times = 2 ** sum(config.temperal_downsample)
        if times != TEMPORAL:
            raise ValueError(f"autoencoder compresses time by {times}; expected {TEMPORAL}, see temperal_downsample")
        for name in ("latents_mean", "latents_std"):
            if len(config[name]) != config.z_dim:
                raise ValueError(f"{name} has {len(config[name])} values; expected one per channel: {config.z_dim}")
        self.vae = vae
        self.latent_channels: int = config.z_dim
        self._patch: int = config.patch_size or 1
        self.spatial = self._patch * 2 ** (len(config.dim_mult) - 1)
        self._encoder_convolutions, self._decoder_convolutions = (
            sum(isinstance(m, WanCausalConv3d) for m in part.modules()) for part in (vae.encoder, vae.decoder)
        )
        mean, std = torch.tensor(config.latents_mean), torch.tensor(config.latents_std)
        self.register_buffer("_mean", mean.view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("_std", std.view(-1, 1, 1, 1), persistent=False)

    _mean: Tensor
    _std: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; inputs are cast to it."""
        return next(self.vae.parameters()).dtype

    def new_encoder_state(self) -> EncoderState:
        """Encoder memory before a clip's first frame."""
        return EncoderState(self._encoder_convolutions)

    def new_state(self) -> DecoderState:
        """Decoder memory of a fresh segment."""
        return DecoderState(self._decoder_convolutions)

    def encode(self, frames_BCTHW: Tensor, state: EncoderState | None = None) -> Tensor:
        """Frames in [-1, 1] -> scaled latents [B, z, F, H / spatial, W / spatial] (the posterior's mode).

        ``1 + 4 n`` frames give ``1 + n`` latents. With a ``state`` the clip may come in pieces: the first as above,
        every further piece ``4 n`` frames for ``n`` latents.

        Raises:
            ValueError: wrong channel count, length or size.
        """
        from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

        state = state or self.new_encoder_state()
        frames = frames_BCTHW.shape[2]
        if state.started and (frames == 0 or frames % TEMPORAL):
            raise ValueError(f"clip goes on with {frames} frames; expected a multiple of {TEMPORAL} after its start")
        check_frames(frames_BCTHW[:, :, : 1 if state.started else None], self.spatial)
        lengths = [TEMPORAL] * (frames // TEMPORAL) if state.started else [1] + [TEMPORAL] * (frames // TEMPORAL)
        state.enter(frames_BCTHW)
        pieces = patchify(frames_BCTHW.to(self.dtype), self._patch).split(lengths, 2)
        codes = [self.vae.quant_conv(self.vae.encoder(p, feat_cache=state.features, feat_idx=[0])) for p in pieces]
        return (torch.cat(codes, 2)[:, : self.latent_channels] - self._mean) / self._std

    def decode(self, latents_BCFHW: Tensor, state: DecoderState) -> Tensor:
        """Next scaled latents of a segment -> frames [B, 3, T, H, W] clamped to [-1, 1], in any split bit for bit.

        Raises:
            ValueError: wrong number of dimensions or channels, or no latents.
        """
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        if latents_BCFHW.ndim != 5 or latents_BCFHW.shape[1] != self.latent_channels or latents_BCFHW.shape[2] == 0:
            raise ValueError(
                f"latents are {tuple(latents_BCFHW.shape)}; this codec takes [B, {self.latent_channels}, F >= 1, H, W]"
            )
        first = not state.started
        state.enter(latents_BCFHW)
        frames = []
        for latent in latents_BCFHW.to(self.dtype).split(1, 2):
            z = self.vae.post_quant_conv(latent * self._std + self._mean)
            frames.append(self.vae.decoder(z, feat_cache=state.features, feat_idx=[0], first_chunk=first))
            first = False
        return unpatchify(torch.cat(frames, 2), self._patch).clamp(-1, 1)

    @staticmethod
    def from_pretrained(directory: Path | str, dtype: torch.dtype = torch.float32) -> WanCodec:
        """Reads ``config.json`` and safetensors weights from a local ``vae`` folder in diffusers' layout; frozen.

        Wan's autoencoder is meant to run in float32; the default keeps it there.
        """
        from diffusers import AutoencoderKLWan

        with reading_model(directory):
            vae = AutoencoderKLWan.from_pretrained(
                Path(directory), local_files_only=True, use_safetensors=True, torch_dtype=dtype, low_cpu_mem_usage=False
            )
            return WanCodec(vae).eval().requires_grad_(False)

    def save_pretrained(self, directory: Path | str) -> None:
        """Writes ``config.json`` and ``diffusion_pytorch_model.safetensors``, each atomically; diffusers reads them."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        weights = dict(self.vae.state_dict())
        save_safetensors_atomic(weights, directory / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
        write_json_atomic(directory / "config.json", {"_class_name": "AutoencoderKLWan", **_plain(self.vae.config)})


def _plain(config: Any) -> dict[str, Any]:
    """A config without diffusers' notes to itself (file path, defaults used)."""
    return {name: value for name, value in config.items() if not name.startswith("_")}
