"""A model directory in diffusers layout and what is loaded from it.

``model_index.json`` (with our ``stream`` settings), ``transformer/``, ``vae/``, ``text_encoder/``, ``tokenizer/``,
``scheduler/``; weights are safetensors only. The bundled small model and Wan2.2-TI2V-5B load through the same code;
what differs is in their config files.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from quickchange.cache import CacheConfig
from quickchange.errors import ModelError
from quickchange.files import save_safetensors_atomic, write_json_atomic
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.model.codec import LIGHT_CLASS, Codec, LightCodec
from quickchange.model.flow import FewStepSchedule
from quickchange.model.transformer import TransformerConfig, WanTransformer

if TYPE_CHECKING:
    from quickchange.model.prompts import PromptEncoder

WEIGHTS = "diffusion_pytorch_model"
TRANSFORMER_CLASS = "WanTransformer3DModel"


GarmentKind = Literal["top", "bottom", "one-piece"]
GARMENT_KINDS: tuple[GarmentKind, ...] = get_args(GarmentKind)


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """What a model streams; saved with it. Defaults are those of Wan2.2-TI2V-5B (METHOD section 2).

    Attributes:
        width, height: pixels. fps: frames per second of media time.
        chunk, window, sink: latent frames per chunk, latent frames in the cache, chunks kept as sink.
        timesteps, shift: the few-step schedule.
        garment_box: where training places garments on their white canvas, (x0, y0, x1, y1) in fractions; photos
            are fitted into it.
        kinds: of garments that it was trained on, of "top", "bottom" and "one-piece".
    """

    width: int = 704
    height: int = 1280
    fps: int = 24
    chunk: int = 3
    window: int = 23
    sink: int = 1
    timesteps: tuple[float, ...] = (1000.0, 750.0, 500.0, 250.0)
    shift: float = 5.0
    garment_box: tuple[float, float, float, float] = (0.05, 0.05, 0.95, 0.95)
    kinds: tuple[GarmentKind, ...] = GARMENT_KINDS

    def __post_init__(self) -> None:
        for name, greatest in (("width", 8192), ("height", 8192), ("fps", 240), ("chunk", 64), ("window", 4096)):
            if not 1 <= getattr(self, name) <= greatest:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 to {greatest}")
        x0, y0, x1, y1 = self.garment_box
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ValueError(f"garment_box is {self.garment_box}; expected 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
        if not self.kinds or not set(self.kinds) <= set(GARMENT_KINDS):
            raise ValueError(f"kinds is {self.kinds}; expected some of {', '.join(GARMENT_KINDS)}")
        self.schedule()

    def schedule(self) -> FewStepSchedule:
        return FewStepSchedule(self.timesteps, self.shift)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; expected a model directory in diffusers layout")
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """One safetensors file, or the shards that ``*.index.json`` names (plain file names only)."""
    index = folder / f"{WEIGHTS}.safetensors.index.json"
    if not index.is_file():
        return load_file(folder / f"{WEIGHTS}.safetensors")
    weights: dict[str, torch.Tensor] = {}
    for name in sorted(set(_read_json(index)["weight_map"].values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index} names the shard {name!r}; expected a safetensors file in the same folder")
        weights |= load_file(folder / name)
    return weights


def load_transformer(folder: Path) -> WanTransformer:
    """Our or diffusers' ``transformer/`` folder; weights in float32 unless stored otherwise on a large model."""
    config = TransformerConfig.from_dict(_read_json(folder / "config.json"))
    with torch.device("meta"):
        model = WanTransformer(config)
    weights = load_weights(folder)
    model.load_state_dict(weights, assign=True)
    if config.channel_std is not None:  # not a weight, so still on the meta device
        model.channel_std = torch.tensor(config.channel_std)[:, None, None, None]
    return model.eval().requires_grad_(False)


def load_codec(folder: Path) -> Codec:
    """Light or Wan codec, by the class its config names."""
    if _read_json(folder / "config.json").get("_class_name") == LIGHT_CLASS:
        return LightCodec.from_pretrained(folder)
    from quickchange.model.wan_codec import WanCodec

    return WanCodec.from_pretrained(folder)


@dataclass
class Components:
    """Everything a Studio needs. ``stream`` says how to run the rest."""

    stream: StreamConfig
    transformer: WanTransformer
    codec: Codec
    prompts: PromptEncoder

    def __post_init__(self) -> None:
        config, codec, stream = self.transformer.config, self.codec, self.stream
        if stream.width % codec.spatial or stream.height % codec.spatial:
            raise ValueError(f"stream is {stream.width}x{stream.height}; its codec needs multiples of {codec.spatial}")
        grid = self.transformer.token_grid(stream.height // codec.spatial, stream.width // codec.spatial)
        for what, got, expected in (
            ("transformer in_channels", config.in_channels, codec.latent_channels),
            ("transformer text_dim", config.text_dim, self.prompts.dim),
            ("transformer grid", config.grid or grid, grid),
        ):
            if got != expected:
                raise ValueError(f"{what} is {got}; the other parts of the model need {expected}")

    def rotary(self, device: torch.device | str = "cpu") -> RotaryEmbedding:
        """Build the rotary tables of the stream's token grid."""
        config, stream, spatial = self.transformer.config, self.stream, self.codec.spatial
        grid = self.transformer.token_grid(stream.height // spatial, stream.width // spatial)
        return RotaryEmbedding(config.attention_head_dim, grid, theta=config.rope_theta, device=device)

    def cache_config(self, tokens_per_frame: int) -> CacheConfig:
        """Of the cache that a stream of this model needs."""
        config, stream = self.transformer.config, self.stream
        return CacheConfig(
            layers=config.num_layers,
            heads=config.num_attention_heads,
            head_dim=config.attention_head_dim,
            tokens_per_frame=tokens_per_frame,
            window=stream.window,
            chunk=stream.chunk,
            sink=stream.sink,
        )

    @staticmethod
    def from_pretrained(directory: Path | str) -> Components:
        """Loads a model directory.

        Raises:
            FileNotFoundError: the directory or a part of it is missing; names it.
            ModelError: a part is damaged, out of range, or does not fit the others.
        """
        root = Path(directory)
        try:
            return Components._load(root)
        except FileNotFoundError:
            raise
        except (ValueError, TypeError, KeyError, RuntimeError, OSError, SafetensorError) as error:
            raise ModelError(" ".join(f"{type(error).__name__}: {error}".split())) from error

    @staticmethod
    def _load(root: Path) -> Components:
        from quickchange.model.prompts import PromptEncoder

        known = {f.name for f in dataclasses.fields(StreamConfig)}
        stream = {k: v for k, v in _read_json(root / "model_index.json").get("stream", {}).items() if k in known}
        return Components(
            stream=StreamConfig(**_tuples(stream)),
            transformer=load_transformer(root / "transformer"),
            codec=load_codec(root / "vae"),
            prompts=PromptEncoder.from_pretrained(root),
        )

    def save_pretrained(self, directory: Path | str, dtype: torch.dtype = torch.float32) -> None:
        """Writes the directory; every file is complete or absent. ``dtype`` is that of the stored transformer."""
        root = Path(directory)
        (root / "transformer").mkdir(parents=True, exist_ok=True)
        (root / "scheduler").mkdir(exist_ok=True)
        weights = {k: v.to(dtype) for k, v in self.transformer.state_dict().items()}
        save_safetensors_atomic(weights, root / "transformer" / f"{WEIGHTS}.safetensors")
        config = {"_class_name": TRANSFORMER_CLASS, **self.transformer.config.to_dict()}
        write_json_atomic(root / "transformer" / "config.json", config)
        self.codec.save_pretrained(root / "vae")
        self.prompts.save_pretrained(root)
        scheduler = {
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "num_train_timesteps": 1000,
            "shift": self.stream.shift,
        }
        write_json_atomic(root / "scheduler" / "scheduler_config.json", scheduler)
        index = {
            "_class_name": "QuickchangePipeline",
            "transformer": ["diffusers", TRANSFORMER_CLASS],
            "vae": [
                "diffusers" if type(self.codec).__name__ == "WanCodec" else "quickchange",
                type(self.codec).__name__,
            ],
            "text_encoder": ["transformers", "UMT5EncoderModel"],
            "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "stream": asdict(self.stream),
        }
        write_json_atomic(root / "model_index.json", index)
