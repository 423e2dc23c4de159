"""The studio: a model directory, loaded and warm, that opens sessions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickchange.cache import KVCache
from quickchange.engine.components import Components, GarmentKind
from quickchange.engine.session import Session
from quickchange.engine.switch import VARIANTS
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.media.images import Source as ImageLike
from quickchange.media.images import cut_out, fit_garment, fit_reference, load_image
from quickchange.media.pixels import to_unit
from quickchange.model.transformer import TextContext

if TYPE_CHECKING:
    from quickchange.cache import EvictionPolicy


@dataclass(frozen=True)
class ConditionImage:
    """A person or a garment, ready for ``Studio.open`` and the session's controls at no further cost.

    Attributes:
        picture: as the model sees it, uint8 [H, W, 3].
        latent: the same, encoded: [1, C, 1, H, W], on the studio's device.
    """

    picture: NDArray[np.uint8]
    latent: Tensor


class Studio:
    """Opens sessions over one set of weights.

    Args:
        components: what ``Components.from_pretrained`` loads.
        device: torch device. dtype: of the transformer and its cache; the codec stays in float32.
    """

    def __init__(
        self, components: Components, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.components, self.device, self.dtype = components, torch.device(device), dtype
        transformer = components.transformer.to(self.device, dtype)
        # Sinusoids need more digits than bfloat16 has; these two run once per schedule, not per pass.
        transformer.condition_embedder.time_embedder.float()
        transformer.condition_embedder.time_proj.float()
        if transformer.channel_std is not None:
            transformer.channel_std = transformer.channel_std.float()
        components.codec.to(self.device)
        components.prompts.to(self.device)
        stream, config, spatial = components.stream, transformer.config, components.codec.spatial
        grid = transformer.token_grid(stream.height // spatial, stream.width // spatial)
        self._rotary = RotaryEmbedding(config.attention_head_dim, grid, theta=config.rope_theta, device=self.device)
        self._cache_config = components.cache_config(self._rotary.tokens_per_frame)

    @staticmethod
    def from_pretrained(
        directory: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None, warm: bool = True
    ) -> Studio:
        """Loads a model directory (diffusers layout) and runs every live path once.

        Args:
            dtype: default bfloat16 on an accelerator, float32 on a CPU.
            warm: run ``warm_up``.

        Raises:
            FileNotFoundError: the directory or a part of it is missing.
        """
        if dtype is None:
            dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        studio = Studio(Components.from_pretrained(directory), device, dtype)
        if warm:
            studio.warm_up()
        return studio

    def save_pretrained(self, directory: Path | str) -> None:
        """Writes the model directory, transformer in this studio's dtype."""
        self.components.save_pretrained(directory, self.dtype)

    @property
    def width(self) -> int:
        return self.components.stream.width

    @property
    def height(self) -> int:
        return self.components.stream.height

    @property
    def fps(self) -> int:
        return self.components.stream.fps

    @property
    def chunk(self) -> int:
        """Latent frames of a chunk."""
        return self.components.stream.chunk

    @property
    def window(self) -> int:
        """Latent frames that the cache of a session holds."""
        return self.components.stream.window

    @property
    def kinds(self) -> tuple[GarmentKind, ...]:
        """Kinds of garments that the model was trained on."""
        return self.components.stream.kinds

    @property
    def frames_per_chunk(self) -> int:
        """The most frames of a chunk."""
        return self.chunk * self.components.codec.temporal

    @property
    def session_bytes(self) -> int:
        """About what one session holds in the device's memory: its cache, and half as much again for the rest."""
        config = self._cache_config
        entry = config.layers * config.heads * config.tokens_per_frame * config.head_dim
        return int(1.5 * 3 * config.window * entry * self.dtype.itemsize)  # keys twice, values

    def free_bytes(self) -> int:
        """Memory that is free on the device now."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def open(
        self,
        reference: ImageLike | ConditionImage,
        garment: ImageLike | ConditionImage,
        prompt: str = "",
        seed: int = 0,
        *,
        variant: str = "full",
        cutout: bool = True,
        policy: EvictionPolicy | None = None,
    ) -> Session:
        """Starts a stream.

        Args:
            reference: image of the person: path, PIL image or uint8 array; or prepared.
            garment: what to wear at first; likewise.
            prompt: what happens; should not describe garments.
            seed: same seed and same controls give the same frames, bit for bit, on one machine.
            variant: how garment switches reschedule the cache, see ``VARIANTS``.
            cutout: remove the garment's background.
            policy: what leaves the cache when it is full; default first in, first out, behind the sink.

        Raises:
            InputError: an image that cannot be used. ValueError: unknown variant.
        """
        if variant not in VARIANTS:
            raise ValueError(f"variant is {variant!r}; expected one of {', '.join(VARIANTS)}")
        cache = KVCache(self._cache_config, self._rotary, device=self.device, dtype=self.dtype, policy=policy)
        pair = self.encode_reference(reference), self.encode_garment(garment, cutout=cutout)
        with torch.inference_mode():
            return Session(self, cache, *pair, prompt, seed, variant)

    def warm_up(self) -> None:
        """Runs everything a live stream can run, a switch with a full cache and a new prompt included."""
        stream = self.components.stream
        blank = np.full((stream.height, stream.width, 3), 255, np.uint8)
        with self.open(blank, blank, "", cutout=False) as session:
            for _ in range(stream.window // stream.chunk + 1):
                next(session)
            session.wear(blank, cutout=False)
            next(session)
            session.say("")
            next(session)

    @torch.inference_mode()
    def encode_prompt(self, prompt: str) -> TextContext:
        """Cross-attention keys and values of a prompt."""
        return self.components.transformer.embed_text(self.components.prompts.encode([prompt]).hidden_BTE)

    def prepare_reference(self, person: ImageLike) -> ConditionImage:
        """Fits and encodes a person's image ahead of time. InputError for one that cannot be used."""
        picture = fit_reference(load_image(person), self.width, self.height)
        return ConditionImage(picture, self._encode(picture))

    def prepare_garment(self, garment: ImageLike, *, cutout: bool = True) -> ConditionImage:
        """Cuts out, fits and encodes a garment ahead of time. InputError for an image that cannot be used."""
        picture = self.fit_garment(garment, cutout=cutout)
        return ConditionImage(picture, self._encode(picture))

    def encode_reference(self, person: ImageLike | ConditionImage) -> Tensor:
        """Latent [1, C, 1, H, W] of a person's image, resized and cropped to the stream's size."""
        return (person if isinstance(person, ConditionImage) else self.prepare_reference(person)).latent

    def encode_garment(self, garment: ImageLike | ConditionImage, *, cutout: bool = True) -> Tensor:
        """Latent [1, C, 1, H, W] of a garment's image, placed on white as in training."""
        return (garment if isinstance(garment, ConditionImage) else self.prepare_garment(garment, cutout=cutout)).latent

    def fit_garment(self, garment: ImageLike, *, cutout: bool = True) -> NDArray[np.uint8]:
        """The garment as the model will see it: uint8 [H, W, 3]."""
        rgb = load_image(garment)
        if cutout:
            return self.place_garment(*cut_out(rgb))
        if rgb.shape[:2] == (self.height, self.width):
            return rgb
        return self.place_garment(rgb, np.ones(rgb.shape[:2], np.float32))

    def place_garment(self, rgb: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A cut-out garment (alpha in 0..1) on white, where the model expects garments: uint8 [H, W, 3]."""
        return fit_garment(rgb, alpha, self.width, self.height, self.components.stream.garment_box)

    def _encode(self, image: NDArray[np.uint8]) -> Tensor:
        return self.encode_pixels(torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None])

    @torch.inference_mode()
    def encode_pixels(self, pixels_BCHW: Tensor) -> Tensor:
        """Latents [B, C, 1, H, W] of single frames, uint8 [B, 3, H, W] at the stream's size."""
        return self.components.codec.encode(to_unit(pixels_BCHW[:, :, None])).float()
