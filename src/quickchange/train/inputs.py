"""The inputs of a stage: a recipe, data, a run folder, and what earlier stages left there.

A run folder holds ``vae/ sft/ tf/ dmd/`` (checkpoints, curves, sheets), ``latents.safetensors`` and, after each stage,
``model/``: the components as they stand, a directory a Studio can open. ``codec/`` holds the run's codec.
"""

from __future__ import annotations

import copy
import filecmp
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch

from quickchange.data.latents import Latents, latents_origin, load_groups, save_latents
from quickchange.engine.components import Components, load_codec
from quickchange.errors import ModelNotFoundError, RecipeError
from quickchange.model.codec import Codec
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import WanTransformer
from quickchange.train import distributed
from quickchange.train.config import Recipe, StageConfig, read_recipe
from quickchange.train.distributed import whole_copy
from quickchange.train.source import data_origin, encode_data, files_origin

LATENTS = "latents.safetensors"


@dataclass(frozen=True)
class Inputs:
    """Everything that a stage may be built from; read when it is asked for.

    Attributes:
        name: of the stage.
        path: of the recipe, TOML.
        data: folder of shards or of real triplets.
        folder: run folder.
        device: where to train.
        init: model directory whose weights the stage starts from, or None.
    """

    name: str
    path: Path
    data: Path
    folder: Path
    device: torch.device
    init: Path | None

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the video model.

        Raises:
            RecipeError: it cannot be read, or has no table for the stage.
        """
        recipe = read_recipe(self.path)
        if self.name not in recipe.stages:
            raise RecipeError(f"{self.path} has no [stages.{self.name}] table")
        return recipe

    @property
    def config(self) -> StageConfig:
        """The stage's table."""
        return self.recipe.stages[self.name]

    @cached_property
    def latents(self) -> tuple[Codec, list[Latents]]:
        """The run's codec, else that of ``init``, and the encoded clips by size.

        Clips are encoded anew where codec or data are others than the file's.

        Raises:
            ModelNotFoundError: there is no codec yet.
        """
        own = self.folder / "codec"
        home = own if self.init is None or own.is_dir() else self.init / "vae"
        source = home / "diffusion_pytorch_model.safetensors"
        if not source.is_file():
            raise ModelNotFoundError(f"{source} not found; run `quickchange train vae` with the same --run first")
        codec, path = load_codec(home).to(self.device), self.folder / LATENTS
        origin = data_origin(self.recipe, self.data, codec, source)
        if distributed.rank() == 0 and (not path.is_file() or latents_origin(path) != origin):
            save_latents(encode_data(self.recipe, self.data, codec, self.device, self.folder), path, origin)
        distributed.barrier()  # the others wait for the file
        return codec, load_groups(path)

    def exported(self, stage: str) -> Path:
        """The model directory that an earlier stage has left.

        Raises:
            ModelNotFoundError: it has not finished.
        """
        root = self.folder / stage / "model"
        if not root.is_dir():
            raise ModelNotFoundError(f"{root} not found; finish `quickchange train {stage}` with the same --run first")
        return root

    def stored(self, root: Path) -> Components:
        """Components of a model directory, ready to train, under the recipe's present stream settings.

        A text encoder that no stage trains is held in the stage's own precision.
        """
        config, stored, (codec, _) = self.config, Components.from_pretrained(root), self.latents
        transformer = stored.transformer.to(self.device).train().requires_grad_(True)
        frozen = config.precision == "bf16" and not getattr(config.options, "train_text", True)
        stored.prompts.to(self.device, torch.bfloat16 if frozen else None)
        stored.prompts.module.requires_grad_(True)
        return Components(stream=self.recipe.stream, transformer=transformer, codec=codec, prompts=stored.prompts)

    def describe(self, *tables: str, latents: bool = True) -> dict[str, Any]:
        """Describe everything beside the stage's own table that the result depends on, for checkpoints.

        Args:
            tables: of the recipe. Students take their sizes from the network that they start from.
            latents: whether the stage trains on latents, rather than on pixels.
        """
        if latents:
            data = latents_origin(self.folder / LATENTS)
        else:
            files = files_origin(self.recipe, self.data, self.recipe.codec.spatial)
            data = hashlib.sha256(files.encode()).hexdigest()
        parts = {name: asdict(getattr(self.recipe, name)) for name in tables}
        return parts | {"init": None if self.init is None else str(self.init), "data": data}


def exporter(components: Components, *targets: Path) -> Callable[[WanTransformer], None]:
    """A function that writes the components, with the network that it is given, to model directories."""

    def export(network: WanTransformer) -> None:
        whole, prompts = copy.copy(components), components.prompts
        whole.transformer = cast(WanTransformer, whole_copy(network))
        whole.prompts = PromptEncoder(whole_copy(prompts.module), prompts.tokenizer, prompts.max_tokens)
        if distributed.rank() == 0:
            for target in targets:
                whole.save_pretrained(target)
        distributed.barrier()

    return export


def teacher_prompts(teacher: Path, student: Path, prompts: PromptEncoder) -> PromptEncoder:
    """The text encoder that the teacher learned with: the student's own, where training has not changed it.

    A second umT5-XXL would take 11 GB in bfloat16.

    Args:
        teacher: model directory.
        student: model directory that ``prompts`` comes from.
        prompts: the student's text encoder.
    """
    one, two = (root / "text_encoder" for root in (teacher, student))
    names, others = (sorted(path.name for path in folder.glob("*.safetensors")) for folder in (one, two))
    if names == others and not any(filecmp.cmpfiles(one, two, names, shallow=False)[1:]):
        return prompts
    return PromptEncoder.from_pretrained(teacher, prompts.dtype).to(prompts.device)


def require_same(what: str, init: Path, theirs: Any, ours: Any, measured: tuple[str, ...]) -> None:
    """Check that two configs agree but for what training measures.

    Raises:
        RecipeError: they do not; names what differs.
    """
    a, b = asdict(theirs), asdict(ours)
    differ = [f"{k} {a[k]} there, {b[k]} here" for k in a if k not in measured and a[k] != b[k]]
    if differ:
        raise RecipeError(f"{init}: its {what} is another than the recipe's: {'; '.join(differ)}; change [{what}]")
