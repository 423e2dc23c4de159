"""The studio: a model directory, loaded and warm, that opens sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickchange.engine.components import Components, GarmentKind
from quickchange.engine.conditioner import Conditioner, ConditionImage, Garment, Person
from quickchange.engine.memory import free_bytes
from quickchange.engine.session import Session
from quickchange.engine.switch import VARIANTS
from quickchange.engine.threads import ThreadTuner
from quickchange.media.images import PlacedGarment, fit_garment

if TYPE_CHECKING:
    from quickchange.cache import Policy


class Studio:
    """Opens sessions over one set of weights.

    Args:
        components: what ``Components.from_pretrained`` loads. Left as they are: the studio copies what it converts.
        device: torch device.
        dtype: of the transformer and its cache; the codec keeps its own.
    """

    def __init__(
        self, components: Components, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.components = components.to(self.device, dtype)
        self._rotary = self.components.rotary(self.device)
        self.conditioner = Conditioner(self.components, self.device)
        self.threads: ThreadTuner | None = None

    @staticmethod
    def from_pretrained(
        directory: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None, warm: bool = True
    ) -> Studio:
        """Loads a model directory (diffusers layout) and runs every live path once.

        Args:
            directory: in diffusers layout.
            device: torch device.
            dtype: default bfloat16 on an accelerator, float32 on a CPU.
            warm: run ``warm_up``.

        Raises:
            ModelNotFoundError: the directory or a part of it is missing.
            ModelError: a part is damaged, out of range, or does not fit the others.
        """
        if dtype is None:
            dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        studio = Studio(Components.from_pretrained(directory, dtype), device, dtype)
        if warm:
            studio.warm_up()
        return studio

    def save_pretrained(self, directory: Path | str) -> None:
        """Writes the model directory, transformer in this studio's dtype."""
        self.components.save_pretrained(directory, self.dtype)

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return self.components.stream.width

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.components.stream.height

    @property
    def fps(self) -> int:
        """Frames per second of media time."""
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
        config = self.components.cache_config(self._rotary.tokens_per_frame)
        entry = config.layers * config.heads * config.tokens_per_frame * config.head_dim
        return int(1.5 * 3 * config.window * entry * self.dtype.itemsize)  # keys twice, values

    def free_bytes(self) -> int:
        """Memory that is free on the device now."""
        return free_bytes(self.device)

    def open(
        self,
        reference: Person,
        garment: Garment,
        prompt: str = "",
        seed: int = 0,
        *,
        variant: str = "full",
        cutout: bool = True,
        policy: Policy | None = None,
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
        conditioner, components = self.conditioner, self.components
        person, worn = conditioner.person(reference), conditioner.garment(garment, cutout=cutout)
        with torch.inference_mode():
            return Session(
                components.open_rollout(rotary=self._rotary, policy=policy),
                components.codec,
                conditioner,
                reference=person.latent,
                garment=worn.latent,
                prompt=prompt,
                seed=seed,
                variant=variant,
                took=self.threads.took if self.threads else None,
            )

    def tune_threads(self, most: int | None = None) -> ThreadTuner:
        """Let the number of CPU threads follow the machine: measure now, and again when chunks get slow.

        Sums are added in another order with another number of threads, so frames may differ in their last bits between
        runs. Leave it out, and set torch's number of threads, where a seed must give the same frames bit for bit.

        Args:
            most: greatest number of threads; default: usable cores.
        """
        rollout = self.components.open_rollout(rotary=self._rotary)
        stream, codec = self.components.stream, self.components.codec
        rows, columns = stream.height // codec.spatial, stream.width // codec.spatial
        blank = torch.zeros(1, codec.latent_channels, 1, rows, columns, device=self.device)
        with torch.inference_mode():
            rollout.say(self.conditioner.prompt(""))
            rollout.conditions(blank, blank)
        generator = torch.Generator()

        @torch.inference_mode()
        def one_pass() -> Tensor:
            return rollout.chunk(generator, steps=1)

        self.threads = ThreadTuner(one_pass, most)
        self.threads.tune()
        return self.threads

    def warm_up(self) -> None:
        """Runs everything a live stream can run, a switch with a full cache and a new prompt included."""
        stream = self.components.stream
        blank = np.full((stream.height, stream.width, 3), 255, np.uint8)
        garment = PlacedGarment(blank)
        with self.open(blank, garment, "") as session:
            for _ in range(stream.window // stream.chunk + 1):
                next(session)
            session.wear(garment)
            next(session)
            session.say("")
            next(session)

    def prepare_reference(self, person: Person) -> ConditionImage:
        """Fit and encode a person's image ahead of time.

        Raises:
            InputError: an image that cannot be used.
        """
        return self.conditioner.person(person)

    def prepare_garment(self, garment: Garment, *, cutout: bool = True) -> ConditionImage:
        """Cut out, place and encode a garment ahead of time.

        Raises:
            InputError: an image that cannot be used.
        """
        return self.conditioner.garment(garment, cutout=cutout)

    def place_garment(self, rgb: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Place a cut-out garment (alpha in 0..1) on white, where the model expects garments: uint8 [H, W, 3]."""
        return fit_garment(rgb, alpha, self.width, self.height, self.components.stream.garment_box)
