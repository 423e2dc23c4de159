"""The codec: pixels to latents and back, streaming.

One interface, two kinds. ``WanCodec`` (wan_codec.py) wraps diffusers' AutoencoderKLWan. ``LightCodec``, here, is a
TAEHV-class causal autoencoder of 2-D convolutions: small enough for a CPU, and the fast decoder idea for large models.

Both compress time by 4 with the first frame of a segment on its own: ``1 + 4 n`` frames <-> ``1 + n`` latents. All
memory of the past lives in a state object that the caller holds, so feeding latents chunk by chunk gives bit for bit
what one call gives, at constant memory.

Shapes: frames_BCTHW float in [-1, 1]; latents_BCFHW, already scaled for the transformer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from quickchange.files import reading_model, save_safetensors_atomic, write_json_atomic

TEMPORAL = 4
LIGHT_CLASS = "QuickchangeLightCodec"


class Codec(Protocol):
    """Interface of an autoencoder, for session and training."""

    latent_channels: int
    spatial: int
    temporal: int

    def to(self, device: torch.device) -> Codec:
        """Moves the weights."""
        ...

    def save_pretrained(self, directory: Path | str) -> None:
        """Writes config and weights."""
        ...

    def encode(self, frames_BCTHW: Tensor) -> Tensor:
        """``1 + 4 n`` frames -> ``1 + n`` latents of a fresh segment."""
        ...

    def new_state(self) -> Any:
        """Decoder memory of a fresh segment."""
        ...

    def decode(self, latents_BCFHW: Tensor, state: Any) -> Tensor:
        """Next latents of a segment -> frames: one for the segment's first latent, four for every other."""
        ...


def check_frames(frames_BCTHW: Tensor, spatial: int) -> None:
    """ValueError unless the clip is RGB, ``1 + 4 n`` long and a multiple of ``spatial`` in size."""
    _, channels, t, h, w = frames_BCTHW.shape
    if channels != 3:
        raise ValueError(f"frames have {channels} channels; expected 3 (RGB), shape [B, 3, T, H, W]")
    if t % TEMPORAL != 1:
        raise ValueError(f"clip has {t} frames; expected 1 + 4 n, e.g. {1 + TEMPORAL * (t // TEMPORAL)}")
    if h % spatial or w % spatial:
        raise ValueError(f"frames are {w}x{h}; expected width and height to be multiples of {spatial}")


@dataclass(frozen=True, slots=True)
class LightCodecConfig:
    """Size of the light codec.

    Attributes:
        latent_channels: channels of a latent.
        spatial: pixels per latent cell, a power of two >= 8.
        encoder_widths: channels at the cell grid, then at every doubling of resolution.
        decoder_widths: likewise.
        latents_mean: per channel; the transformer sees ``(z - mean) / scale``. Empty before training.
        latents_scale: per channel, likewise.
    """

    latent_channels: int = 64
    spatial: int = 16
    encoder_widths: tuple[int, ...] = (128, 64, 32)
    decoder_widths: tuple[int, ...] = (192, 96, 48)
    latents_mean: tuple[float, ...] = ()
    latents_scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.spatial < 8 or self.spatial & (self.spatial - 1):
            raise ValueError(f"spatial is {self.spatial}; expected a power of two >= 8")
        for statistics in (self.latents_mean, self.latents_scale):
            if len(statistics) not in (0, self.latent_channels) or 0.0 in self.latents_scale:
                raise ValueError(
                    f"latent statistics have {len(statistics)} values; expected {self.latent_channels}, scales not 0"
                )
        for name in ("encoder_widths", "decoder_widths"):
            if self.spatial % 2 ** len(getattr(self, name)):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} levels; {self.spatial} pixels cannot be halved so often"
                )

    @property
    def block_values(self) -> int:
        """Pixel values in one latent cell: 4 frames x RGB x spatial^2."""
        return TEMPORAL * 3 * self.spatial**2


def _full_precision(like: Tensor) -> torch.autocast:
    """Switches autocast off for the linear parts.

    A flat wall rounded to bfloat16 is wrong by the same amount everywhere, and in training the gradient of that error
    would drown all others (measured: 16 times).
    """
    return torch.autocast(like.device.type, enabled=False)


class MemoryBlock(nn.Module):
    """Residual 2-D convolutions that also see the previous latent step's input (TAEHV's causal memory)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.past = nn.Conv2d(width, width, 3, padding=1)
        self.present = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x_BFCHW: Tensor, memory_BCHW: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the output and the memory for the next call. No memory (segment start) counts as zeros."""
        first = torch.zeros_like(x_BFCHW[:, :1]) if memory_BCHW is None else memory_BCHW[:, None]
        before = torch.cat([first, x_BFCHW[:, :-1]], 1)
        y = F.silu(self.present(x_BFCHW.flatten(0, 1)) + self.past(before.flatten(0, 1)))
        return x_BFCHW + self.mix(y).unflatten(0, x_BFCHW.shape[:2]), x_BFCHW[:, -1]


class Encoder(nn.Module):
    """A linear projection of 4-frame pixel blocks plus a convolutional correction that sees across block edges."""

    def __init__(self, config: LightCodecConfig) -> None:
        super().__init__()
        self.spatial = config.spatial
        self.linear = nn.Linear(config.block_values, config.latent_channels)
        widths = config.encoder_widths[::-1]
        self.fold = config.spatial // 2 ** len(widths)
        layers: list[nn.Module] = [nn.Conv2d(TEMPORAL * 3 * self.fold**2, widths[0], 3, padding=1), nn.SiLU()]
        for width, wider in zip(widths, (*widths[1:], widths[-1]), strict=True):
            layers += [nn.Conv2d(width, wider, 4, 2, 1), nn.SiLU()]
        self.refine = nn.Sequential(*layers, nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1))

    def forward(self, groups_NCHW: Tensor) -> Tensor:
        """[N, 12, H, W] -> [N, z, H / spatial, W / spatial]."""
        blocks = F.pixel_unshuffle(groups_NCHW, self.spatial).movedim(1, -1)
        with _full_precision(groups_NCHW):
            coarse = self.linear(blocks.float())
        return coarse.movedim(-1, 1) + self.refine(F.pixel_unshuffle(groups_NCHW, self.fold))


class Decoder(nn.Module):
    """Latents to 4-frame groups: a linear read-out plus memory blocks at growing resolution."""

    def __init__(self, config: LightCodecConfig) -> None:
        super().__init__()
        widths = config.decoder_widths
        self.spatial, self.fold = config.spatial, config.spatial // 2 ** len(widths)
        self.linear = nn.Conv2d(config.latent_channels, config.block_values, 1)
        self.enter = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.memories = nn.ModuleList([MemoryBlock(width) for width in widths])
        self.ups = nn.ModuleList(
            [nn.Conv2d(a, 4 * b, 3, padding=1) for a, b in zip(widths, (*widths[1:], widths[-1]), strict=True)]
        )
        self.leave = nn.Conv2d(widths[-1], TEMPORAL * 3 * self.fold**2, 3, padding=1)

    def forward(self, z_BFCHW: Tensor, memory: list[Tensor | None]) -> Tensor:
        """Returns groups [B, F, 12, H, W]; replaces the entries of ``memory`` (one per block) in place."""
        batch = z_BFCHW.shape[:2]
        flat = z_BFCHW.flatten(0, 1)
        x = self.enter(flat).unflatten(0, batch)
        for i, (block, up) in enumerate(zip(self.memories, self.ups, strict=True)):
            x, memory[i] = block(x, memory[i])
            x = F.pixel_shuffle(up(F.silu(x.flatten(0, 1))), 2).unflatten(0, batch)
        fine = F.pixel_shuffle(self.leave(F.silu(x.flatten(0, 1))), self.fold)
        with _full_precision(flat):
            coarse = F.pixel_shuffle(self.linear(flat.float()), self.spatial)
        return (coarse + fine).unflatten(0, batch)


class LightState:
    """Decoder memory of one segment: the last input of every memory block."""

    def __init__(self, blocks: int) -> None:
        self.memory: list[Tensor | None] = [None] * blocks
        self.started = False


class LightCodec(nn.Module):
    """The bundled model's codec. See the module header."""

    temporal = TEMPORAL

    def __init__(self, config: LightCodecConfig) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.set_config(config)

    def set_config(self, config: LightCodecConfig) -> None:
        """Adopts new latent statistics (same sizes)."""
        self.config, self.latent_channels, self.spatial = config, config.latent_channels, config.spatial
        shape = (config.latent_channels, 1, 1)
        like = self.encoder.linear.weight
        self._mean = torch.tensor(config.latents_mean or [0.0] * shape[0], dtype=like.dtype, device=like.device).view(
            shape
        )
        self._scale = torch.tensor(config.latents_scale or [1.0] * shape[0], dtype=like.dtype, device=like.device).view(
            shape
        )

    def _apply(self, fn: Any, recurse: bool = True) -> LightCodec:
        super()._apply(fn, recurse)
        self._mean, self._scale = fn(self._mean), fn(self._scale)
        return self

    def encode(self, frames_BCTHW: Tensor) -> Tensor:
        """``1 + 4 n`` frames in [-1, 1] -> scaled latents [B, z, 1 + n, H / spatial, W / spatial].

        Raises:
            ValueError: wrong channel count, length or size.
        """
        return ((self.encode_raw(frames_BCTHW) - self._mean) / self._scale).transpose(1, 2)

    def encode_raw(self, frames_BCTHW: Tensor) -> Tensor:
        """Unscaled latents, time before channels: [B, F, z, h, w]."""
        check_frames(frames_BCTHW, self.spatial)
        frames = frames_BCTHW.transpose(1, 2)  # B T C H W
        padded = torch.cat([frames[:, :1].expand(-1, TEMPORAL - 1, -1, -1, -1), frames], 1)
        groups = padded.unflatten(1, (-1, TEMPORAL)).flatten(2, 3)  # B F 12 H W
        return self.encoder(groups.flatten(0, 1)).unflatten(0, groups.shape[:2])

    def new_state(self) -> LightState:
        """Memory of a new stream."""
        return LightState(len(self.decoder.memories))

    def decode(self, latents_BCFHW: Tensor, state: LightState) -> Tensor:
        """Next latents of a segment -> frames [B, 3, T, H, W], clamped to [-1, 1]; see ``Codec.decode``."""
        z_BFCHW = latents_BCFHW.transpose(1, 2) * self._scale + self._mean
        # Latent by latent: convolution kernels differ in the last bit between batch sizes, and how a stream is cut
        # into chunks must not show.
        return torch.cat([self.decode_raw(z, state) for z in z_BFCHW.split(1, 1)], 2).clamp(-1, 1)

    def decode_raw(self, z_BFCHW: Tensor, state: LightState) -> Tensor:
        """Unscaled latents (time before channels) -> unclamped frames."""
        if z_BFCHW.shape[2] != self.latent_channels:
            raise ValueError(f"latents have {z_BFCHW.shape[2]} channels; this codec has {self.latent_channels}")
        groups = self.decoder(z_BFCHW, state.memory)
        frames = groups.unflatten(2, (TEMPORAL, 3)).flatten(1, 2)
        if not state.started:  # the first latent of a segment stands for one frame, the last of its group
            frames, state.started = frames[:, TEMPORAL - 1 :], True
        return frames.transpose(1, 2)

    def save_pretrained(self, directory: Path | str) -> None:
        """Writes ``config.json`` and ``diffusion_pytorch_model.safetensors``, each atomically."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        save_safetensors_atomic(dict(self.state_dict()), directory / "diffusion_pytorch_model.safetensors")
        write_json_atomic(directory / "config.json", {"_class_name": LIGHT_CLASS, **asdict(self.config)})

    @staticmethod
    def from_pretrained(directory: Path | str) -> LightCodec:
        """Load a codec in float32, frozen.

        Raises:
            ModelNotFoundError: a file is missing.
            ModelError: damaged, or of another kind.
        """
        directory = Path(directory)
        with reading_model(directory):
            values = json.loads((directory / "config.json").read_text())
            values.pop("_class_name", None)
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            config = LightCodecConfig(**fields)
            codec = LightCodec(config)
            weights = load_file(directory / "diffusion_pytorch_model.safetensors")
            codec.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
            return codec.eval().requires_grad_(False)
