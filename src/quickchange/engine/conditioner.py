"""Pictures and prompts in, latents and text states out: everything that conditions a stream passes through here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickchange.engine.components import Components
from quickchange.media.images import PlacedGarment, Source, fit_reference, garment_canvas, load_image
from quickchange.media.pixels import to_unit
from quickchange.model.transformer import TextContext


@dataclass(frozen=True)
class ConditionImage:
    """A person or a garment, encoded: costs nothing more in ``Studio.open`` and the session's controls.

    Attributes:
        picture: as the model sees it, uint8 [H, W, 3].
        latent: the same, encoded: [1, C, 1, H, W], on the conditioner's device.
    """

    picture: NDArray[np.uint8]
    latent: Tensor


Person = Source | ConditionImage
Garment = Source | PlacedGarment | ConditionImage


class Conditioner:
    """Encodes what a stream is conditioned on.

    Args:
        components: the model; its codec and text encoder are on ``device`` already.
        device: where latents are wanted.
    """

    def __init__(self, components: Components, device: torch.device) -> None:
        self._components, self._device = components, device

    def person(self, image: Person) -> ConditionImage:
        """Fit and encode a person's image, resized and cropped to the stream's size.

        Raises:
            InputError: an image that cannot be used.
        """
        if isinstance(image, ConditionImage):
            return image
        stream = self._components.stream
        return self._encode(fit_reference(load_image(image), stream.width, stream.height))

    def garment(self, image: Garment, *, cutout: bool = True) -> ConditionImage:
        """Cut out, place and encode a garment.

        Args:
            image: a product shot or a photo; a ``PlacedGarment`` is encoded as it is.
            cutout: remove the background first.

        Raises:
            InputError: an image that cannot be used.
        """
        if isinstance(image, ConditionImage):
            return image
        return self._encode(self.place(image, cutout=cutout).rgb)

    def place(self, image: Source | PlacedGarment, *, cutout: bool = True) -> PlacedGarment:
        """Place a garment on white, where the model expects garments, at the stream's size."""
        stream = self._components.stream
        return garment_canvas(image, stream.width, stream.height, stream.garment_box, cutout=cutout)

    @torch.inference_mode()
    def prompt(self, text: str) -> TextContext:
        """Compute the cross-attention keys and values of a prompt."""
        components = self._components
        return components.transformer.embed_text(components.prompts.encode([text]).hidden_BTE)

    @torch.inference_mode()
    def frame(self, pixels_BCHW: Tensor) -> Tensor:
        """Encode single frames, uint8 [B, 3, H, W] at the stream's size, to float32 latents [B, C, 1, H, W]."""
        return self._components.codec.encode(to_unit(pixels_BCHW[:, :, None])).float()

    def _encode(self, picture: NDArray[np.uint8]) -> ConditionImage:
        pixels_BCHW = torch.from_numpy(picture).to(self._device).permute(2, 0, 1)[None]
        return ConditionImage(picture, self.frame(pixels_BCHW))
