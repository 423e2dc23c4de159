"""Stages by name: what each needs, where its result goes.

A run folder holds ``vae/ sft/ tf/ dmd/`` (checkpoints, curves, sheets), ``latents.safetensors`` and, after each stage,
``model/``: the components as they stand, a directory a Studio can open. ``teacher/`` keeps the teacher's network.
"""

from __future__ import annotations

import copy
import filecmp
import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch

from quickchange.data.latents import Latents, latents_origin, load_groups, save_latents
from quickchange.data.parsing_frames import load_frames
from quickchange.engine.components import Components, load_codec, load_transformer
from quickchange.engine.threads import ThreadTuner, typical_work
from quickchange.model.codec import Codec, LightCodec
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import WanTransformer
from quickchange.parsing.network import PersonParser
from quickchange.train import STAGES, distributed
from quickchange.train.checkpoints import latest, recorded_recipe
from quickchange.train.config import Recipe, read_parser_recipe, read_recipe
from quickchange.train.distributed import whole_copy
from quickchange.train.initial import initialise_small
from quickchange.train.loop import train
from quickchange.train.rewards import make_reward
from quickchange.train.source import data_origin, encode_data, files_origin, load_pixels
from quickchange.train.stage import Stage
from quickchange.train.stages.dmd import DmdStage
from quickchange.train.stages.parser import ParserStage
from quickchange.train.stages.sft import TeacherStage
from quickchange.train.stages.teacher_forcing import TeacherForcingStage
from quickchange.train.stages.vae import CodecStage, start_from_components

log = logging.getLogger(__name__)
LATENTS = "latents.safetensors"


def run(
    stage: str,
    recipe_path: Path,
    data: Path,
    folder: Path,
    *,
    device: str = "cpu",
    minutes: float | None = None,
    fresh: bool = False,
    init: Path | None = None,
    wandb: str | None = None,
    threads: int | None = None,
) -> bool:
    """Trains one stage, resuming where it stopped.

    Args:
        stage: one of ``STAGES``. recipe_path: TOML recipe. data: folder of shards, or of real triplets.
        folder: run folder.
        device: torch device. minutes: stop and checkpoint after this time. fresh: ignore an earlier checkpoint.
        init: model directory whose weights the stage starts from: ``vae`` its codec, the others its transformer and
            text encoder (in place of an earlier stage's). Without a codec in ``folder``, its codec is used as it is.
            Recorded in checkpoints: a resumed run need not name it again.
        wandb: project of Weights & Biases.
        threads: CPU threads; None lets their number follow the machine, so that a rerun may differ in its last bits.

    Returns:
        Whether the stage is finished.

    Raises:
        ValueError: unknown stage, bad recipe, or one that an earlier checkpoint contradicts.
        FileNotFoundError: an earlier stage's result or the data is missing.
    """
    if stage not in STAGES:
        raise ValueError(f"stage is {stage!r}; expected one of {', '.join(STAGES)}")
    place = distributed.start(device)
    if distributed.rank() > 0:
        logging.getLogger("quickchange").setLevel(logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if stage == "parser":
            built = _parser_stage(recipe_path, data, folder, place)
        else:
            built = _build(stage, recipe_path, data, folder, place, init or _recorded_init(folder / stage, fresh))
        took = None
        if threads is not None:
            torch.set_num_threads(threads)
        elif place.type == "cpu" and distributed.size() == 1:
            tuner = ThreadTuner(typical_work())
            tuner.tune()
            took = tuner.took
        return train(built, folder / stage, minutes=minutes, fresh=fresh, wandb=wandb, took=took)
    finally:
        distributed.stop()


def _recorded_init(folder: Path, fresh: bool) -> Path | None:
    found = None if fresh else latest(folder)
    recipe = recorded_recipe(found) if found else None
    return Path(recipe["init"]) if recipe and recipe.get("init") else None


def _build(stage: str, recipe_path: Path, data: Path, folder: Path, device: torch.device, init: Path | None) -> Stage:
    recipe = read_recipe(recipe_path)
    if stage not in recipe.stages:
        raise ValueError(f"{recipe_path} has no [stages.{stage}] table")
    torch.manual_seed(recipe.stages[stage].seed)
    if init is not None and not init.is_dir():
        raise FileNotFoundError(f"{init} not found; expected a model directory to start from")
    make = {"vae": _codec_stage, "sft": _teacher_stage, "tf": _forcing_stage, "dmd": _dmd_stage}[stage]
    built = make(recipe, data, folder, device, init)
    # What the result depends on. Students take their sizes from the network they start from.
    tables = {"vae": ("codec",), "sft": ("stream", "transformer", "text")}.get(stage, ("stream",))
    built.recipe |= {name: asdict(getattr(recipe, name)) for name in tables}
    built.recipe["init"] = None if init is None else str(init)
    if stage == "vae":
        built.recipe["data"] = hashlib.sha256(files_origin(recipe, data, recipe.codec.spatial).encode()).hexdigest()
    else:
        built.recipe["data"] = latents_origin(folder / LATENTS)
    return built


def _parser_stage(recipe_path: Path, data: Path, folder: Path, device: torch.device) -> Stage:
    """The parser knows nothing of the other stages, but for the codec that it may be told to read through."""
    parser_config, config = read_parser_recipe(recipe_path)
    torch.manual_seed(config.seed)
    parser, options = PersonParser(parser_config).to(device), config.options
    codec = load_codec(Path(options["codec"])) if options.get("codec") else None
    frames = load_frames(data, int(options.get("frames", 8)), codec, float(options.get("noise", 0.3)), config.seed)
    stage = ParserStage(parser, frames, config, device, lambda: parser.save_pretrained(folder / "parser" / "model"))
    stage.recipe["parser"] = asdict(parser_config)
    return stage


def _same(what: str, init: Path, theirs: Any, ours: Any, measured: tuple[str, ...]) -> None:
    """ValueError unless two configs agree but for what training measures."""
    a, b = asdict(theirs), asdict(ours)
    differ = [f"{k} {a[k]} there, {b[k]} here" for k in a if k not in measured and a[k] != b[k]]
    if differ:
        raise ValueError(f"{init}: its {what} is another than the recipe's: {'; '.join(differ)}; change [{what}]")


def _codec_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device, init: Path | None) -> Stage:
    clips = load_pixels(recipe, data)
    if init is None:
        codec = LightCodec(recipe.codec)
        start_from_components(codec, clips)
    else:
        codec = LightCodec.from_pretrained(init / "vae").train().requires_grad_(True)
        _same("codec", init, codec.config, recipe.codec, ("latents_mean", "latents_scale"))
    return CodecStage(
        codec.to(device), clips, recipe.stages["vae"], device, lambda: codec.save_pretrained(folder / "codec")
    )


def _latents(
    recipe: Recipe, data: Path, folder: Path, device: torch.device, init: Path | None
) -> tuple[Codec, list[Latents]]:
    """The run's codec, else that of ``init``, and the encoded clips by size; encodes them anew when codec or data are
    others than the file's."""
    own = folder / "codec"
    home = own if init is None or own.is_dir() else init / "vae"
    source = home / "diffusion_pytorch_model.safetensors"
    if not source.is_file():
        raise FileNotFoundError(f"{source} not found; run `quickchange train vae` with the same --run first")
    codec, path = load_codec(home).to(device), folder / LATENTS
    origin = data_origin(recipe, data, codec, source)
    if distributed.rank() == 0 and (not path.is_file() or latents_origin(path) != origin):
        save_latents(encode_data(recipe, data, codec, device, folder), path, origin)
    distributed.greatest(0)  # the others wait for the file
    return codec, load_groups(path)


def _exporter(components: Components, *targets: Path) -> Callable[[WanTransformer], None]:
    def export(network: WanTransformer) -> None:
        whole, prompts = copy.copy(components), components.prompts
        whole.transformer = cast(WanTransformer, whole_copy(network))
        whole.prompts = PromptEncoder(whole_copy(prompts.module), prompts.tokenizer, prompts.max_tokens)
        if distributed.rank() == 0:
            for target in targets:
                whole.save_pretrained(target)
        distributed.greatest(0)

    return export


def _stored(root: Path, recipe: Recipe, codec: Codec, device: torch.device, stage: str) -> Components:
    """Components of a model directory, ready to train, under the recipe's present stream settings.

    A text encoder that no stage trains is held in the stage's own precision.
    """
    config, stored = recipe.stages[stage], Components.from_pretrained(root)
    transformer = stored.transformer.to(device).train().requires_grad_(True)
    frozen = config.precision == "bf16" and not config.options.get("train_text", True)
    stored.prompts.to(device, torch.bfloat16 if frozen else None)
    stored.prompts.module.requires_grad_(True)
    return Components(stream=recipe.stream, transformer=transformer, codec=codec, prompts=stored.prompts)


def _teacher_prompts(teacher: Path, student: Path, prompts: PromptEncoder) -> PromptEncoder:
    """The text encoder that the teacher learned with: the student's own, where training has not changed it.

    A second umT5-XXL would take 11 GB in bfloat16.
    """
    one, two = (root / "text_encoder" for root in (teacher, student))
    names, others = (sorted(path.name for path in folder.glob("*.safetensors")) for folder in (one, two))
    if names == others and not any(filecmp.cmpfiles(one, two, names, shallow=False)[1:]):
        return prompts
    return PromptEncoder.from_pretrained(teacher, prompts.dtype).to(prompts.device)


def _exported(folder: Path, stage: str) -> Path:
    root = folder / stage / "model"
    if not root.is_dir():
        raise FileNotFoundError(f"{root} not found; finish `quickchange train {stage}` with the same --run first")
    return root


def _teacher_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device, init: Path | None) -> Stage:
    tuning = recipe.stages["sft"].options.get("tuning", "full")
    if init is None and tuning != "full":
        raise ValueError(f"tuning is {tuning!r}, which changes a trained network a little; name one with --init")
    codec, latents = _latents(recipe, data, folder, device, init)
    config = replace(recipe.transformer, channel_std=max(latents, key=len).channel_std())
    if init is None:
        model = WanTransformer(config)
        initialise_small(model)
        t = recipe.text
        corpus = [text for group in latents for pair in group.prompts for text in pair]
        prompts = PromptEncoder.create(
            corpus, dim=t.dim, layers=t.layers, heads=t.heads, vocab=t.vocab, max_tokens=t.max_tokens
        )
        components = Components(
            stream=recipe.stream, transformer=model.to(device), codec=codec, prompts=prompts.to(device)
        )
    else:
        components = _stored(init, recipe, codec, device, "sft")
        model = components.transformer
        _same("transformer", init, model.config, config, ("channel_std",))
        if model.config.channel_std is not None:
            model.config = config
            model.channel_std = torch.tensor(config.channel_std, device=device)[:, None, None, None]
    return TeacherStage(
        components, latents, recipe.stages["sft"], device, _exporter(components, folder / "sft" / "model")
    )


def _forcing_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device, init: Path | None) -> Stage:
    codec, latents = _latents(recipe, data, folder, device, init)
    components = _stored(init or _exported(folder, "sft"), recipe, codec, device, "tf")
    export = _exporter(components, folder / "tf" / "model", folder / "model")
    return TeacherForcingStage(components, latents, recipe.stages["tf"], device, export)


def _dmd_stage(recipe: Recipe, data: Path, folder: Path, device: torch.device, init: Path | None) -> Stage:
    codec, latents = _latents(recipe, data, folder, device, init)
    start = init or _exported(folder, "tf")
    components = _stored(start, recipe, codec, device, "dmd")
    home = _exported(folder, "sft")
    teacher = load_transformer(home / "transformer").to(device)
    words = _teacher_prompts(home, start, components.prompts)
    export = _exporter(components, folder / "dmd" / "model", folder / "model")
    option = recipe.stages["dmd"].options.get
    reward = make_reward(option("reward", "detail"), option("reward_weights"), device)
    return DmdStage(components, teacher, latents, recipe.stages["dmd"], device, export, reward, words)
