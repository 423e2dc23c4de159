"""Codec stage: the light autoencoder, started from principal components of pixel blocks.

Loss: squared error of pixels and of their differences to the right and below (edges), weighted by what a viewer looks
at: face and hair above garments above the rest. Absolute errors were tried first: they wash faces out, since a few
pixels of eyes are outvoted by the skin around them. A little noise on the latents keeps the decoder smooth, because the
transformer's latents will not be exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickchange.data.latents import Clips, to_float
from quickchange.model.codec import TEMPORAL, LightCodec
from quickchange.train.config import StageConfig
from quickchange.train.inputs import Inputs, require_same
from quickchange.train.options import Options, option
from quickchange.train.plots import save_sheet, to_uint8
from quickchange.train.source import load_pixels
from quickchange.train.stage import Stage
from quickchange.world.spec import Label


def _block_moments(clips: Clips, spatial: int, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mean [V] and covariance [V, V] of 4-frame pixel blocks, single images included."""
    size = TEMPORAL * 3 * spatial**2
    total, moments, n = torch.zeros(size), torch.zeros(size, size), 0
    for index in rng.choice(len(clips), min(count, len(clips)), replace=False):
        t = int(rng.integers(0, clips.video.shape[1] - TEMPORAL))
        stills = (clips.reference[index], clips.garment[index])
        groups = [clips.video[index, t : t + TEMPORAL], *(np.repeat(s[None], TEMPORAL, 0) for s in stills)]
        x = to_float(np.stack(groups)).transpose(1, 2).flatten(1, 2)
        blocks = F.pixel_unshuffle(x, spatial).movedim(1, -1).reshape(-1, size)
        total, moments, n = total + blocks.sum(0), moments + blocks.T @ blocks, n + len(blocks)
    mean = total / n
    return mean, moments / n - mean[:, None] * mean[None]


@torch.no_grad()
def start_from_components(codec: LightCodec, clips: Clips, count: int = 400, seed: int = 0) -> None:
    """Sets the linear parts to the leading principal components and the convolutional corrections to nothing.

    Components are divided by the square root of their spread: half of the differences remain, so that strong
    components still weigh more in the transformer's loss, about half way between pixels and whitening.
    """
    mean, covariance = _block_moments(clips, codec.spatial, count, np.random.default_rng(seed))
    variance, basis = torch.linalg.eigh(covariance)
    variance, basis = variance.flip(0)[: codec.latent_channels], basis.flip(1)[:, : codec.latent_channels]  # [V, z]
    scale = variance.clamp_min(1e-8) ** 0.25
    codec.encoder.linear.weight.copy_((basis / scale).T)
    codec.encoder.linear.bias.copy_(-mean @ (basis / scale))
    codec.decoder.linear.weight.copy_((basis * scale)[:, :, None, None])
    codec.decoder.linear.bias.copy_(mean)
    for module in (*codec.encoder.refine.modules(), *codec.decoder.modules()):
        if isinstance(module, nn.Conv2d) and module is not codec.decoder.linear:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                module.bias.zero_()
    for block in codec.decoder.memories:
        block.mix.weight.mul_(0.3)
    for correction in (codec.encoder.refine[-1], codec.decoder.leave):
        for parameter in correction.parameters():
            parameter.zero_()


def reconstruction_loss(output: Tensor, target: Tensor, weight_BTHW: Tensor) -> Tensor:
    """Weighted squared error of pixels and of horizontal and vertical differences."""
    w = weight_BTHW[:, None]
    error = output - target
    edges_x, edges_y = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    edges = (edges_x.square() * w[..., 1:]).mean() + (edges_y.square() * w[..., 1:, :]).mean()
    return 100 * ((error.square() * w).mean() + edges)


@dataclass(frozen=True, kw_only=True)
class CodecOptions(Options):
    """Options of the codec's training."""

    frames: int = option(13, "frames of a training clip, 1 + 4 n")
    noise: float = option(0.05, "noise on latents, relative to their spread")


class CodecStage(Stage):
    """Reconstruction of short clips; see the module header."""

    name = "vae"
    Options = CodecOptions

    def __init__(
        self, codec: LightCodec, clips: Clips, config: StageConfig, device: torch.device, export: Callable[[], None]
    ) -> None:
        super().__init__(config, {"codec": codec})
        # Five times faster in bfloat16 on a CPU.
        self.codec = codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.clips, self.device, self.export = clips, device, export
        self.options = cast(CodecOptions, config.options)
        self.frames, self.noise = self.options.frames, self.options.noise
        self.weight = torch.full((256,), 0.7)
        self.weight[[Label.SKIN, Label.HAIR]] = 2.5
        self.weight[Label.EYES] = 5.0
        self.weight[[Label.UPPER, Label.LOWER, Label.SKIRT]] = 1.4

    @classmethod
    def build(cls, inputs: Inputs) -> CodecStage:
        """From principal components of the clips, or from ``init``'s codec."""
        recipe, config, init = inputs.recipe, inputs.config, inputs.init
        torch.manual_seed(config.seed)
        clips = load_pixels(recipe, inputs.data)
        if init is None:
            codec = LightCodec(recipe.codec)
            start_from_components(codec, clips)
        else:
            codec = LightCodec.from_pretrained(init / "vae").train().requires_grad_(True)
            require_same("codec", init, codec.config, recipe.codec, ("latents_mean", "latents_scale"))
        home = inputs.folder / "codec"
        stage = cls(codec.to(inputs.device), clips, config, inputs.device, lambda: codec.save_pretrained(home))
        stage.recipe |= inputs.describe("codec", latents=False)
        return stage

    def _videos(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        videos, weights = [], []
        for index in rng.integers(0, len(self.clips), self.config.batch):
            start = int(rng.integers(0, self.clips.video.shape[1] - self.frames + 1))
            part = slice(start, start + self.frames)
            video, weight = (
                to_float(self.clips.video[index, part]),
                self.weight[self.clips.ids[index, part].astype(np.int64)],
            )
            flip = rng.random() < 0.5
            videos.append(video.flip(-1) if flip else video)
            weights.append(weight.flip(-1) if flip else weight)
        return torch.stack(videos).to(self.device), torch.stack(weights).to(self.device)

    def _autoencode(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        z = self.codec.encode_raw(frames)
        spread = z.detach().std((0, 1, 3, 4), keepdim=True)
        noise = torch.randn(z.shape, generator=generator).to(z) * spread
        return self.codec.decode_raw(z + self.noise * noise, self.codec.new_state())

    def _inputs(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Videos, their weights, single images of a step."""
        rng = np.random.default_rng([self.config.seed, step])
        video, weight = self._videos(rng)
        picks = rng.integers(0, len(self.clips), 2 * self.config.batch)
        half = self.config.batch
        stills = np.concatenate([self.clips.reference[picks[:half]], self.clips.garment[picks[half:]]])
        return video, weight, to_float(stills[:, None]).to(self.device)

    def debug_inputs(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The clips of a step."""
        video, _, images = self._inputs(step)
        return {"video": video, "images": images}, {}

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruction loss of a batch."""
        video, weight, images = self._inputs(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            out, still = self._autoencode(video, generator).float(), self._autoencode(images, generator).float()
        loss = reconstruction_loss(out, video, weight)
        loss = loss + 0.3 * reconstruction_loss(still, images, torch.ones_like(images[:, 0]))
        return {"loss": loss, "psnr": -10 * torch.log10(F.mse_loss(out.detach(), video) / 4)}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Write truth and reconstruction side by side."""
        rows = []
        for index in range(min(4, len(self.clips))):
            video = to_float(self.clips.video[index : index + 1, : self.frames]).to(self.device)
            out = self.codec.decode_raw(self.codec.encode_raw(video), self.codec.new_state())
            image = to_float(self.clips.garment[index : index + 1, None]).to(self.device)
            still = self.codec.decode_raw(self.codec.encode_raw(image), self.codec.new_state())
            real, made = to_uint8(video[0]), to_uint8(out[0])
            picks = (0, self.frames // 2, self.frames - 1)
            rows.append(
                [image_ for t in picks for image_ in (real[t], made[t])]
                + [to_uint8(image[0])[0], to_uint8(still[0])[0]]
            )
        save_sheet(rows, path)

    @torch.no_grad()
    def finish(self) -> None:
        """Measures the latents, brings them to unit spread as a whole, exports."""
        raw = []
        for start in range(0, min(len(self.clips), 400), 8):
            raw.append(self.codec.encode_raw(to_float(self.clips.video[start : start + 8]).to(self.device)))
        z = torch.cat(raw)
        mean, std = z.mean((0, 1, 3, 4)), z.std((0, 1, 3, 4))
        scale = std.square().mean().sqrt().expand_as(std)
        config = replace(self.codec.config, latents_mean=tuple(mean.tolist()), latents_scale=tuple(scale.tolist()))
        self.codec.set_config(config)
        self.export()
