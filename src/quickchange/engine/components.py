"""A model directory in diffusers layout and what is loaded from it.

``model_index.json`` (with our ``stream`` settings), ``transformer/``, ``vae/``, ``text_encoder/``, ``tokenizer/``,
``scheduler/``; weights are safetensors only. The bundled small model and Wan2.2-TI2V-5B load through the same code;
what differs is in their config files.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quickchange.cache import CacheConfig, KVCache, Policy
from quickchange.cache.ledger import PositionMode
from quickchange.engine.rollout import Rollout
from quickchange.errors import ModelError, ModelNotFoundError
from quickchange.files import reading_model, save_safetensors_atomic, write_json_atomic
from quickchange.kernels.rope import RotaryEmbedding
from quickchange.model.codec import LIGHT_CLASS, Codec, LightCodec
from quickchange.model.flow import FewStepSchedule
from quickchange.model.prompts import PromptEncoder
from quickchange.model.transformer import TransformerConfig, WanTransformer

WEIGHTS = "diffusion_pytorch_model"
TRANSFORMER_CLASS = "WanTransformer3DModel"


GarmentKind = Literal["top", "bottom", "one-piece"]
GARMENT_KINDS: tuple[GarmentKind, ...] = get_args(GarmentKind)


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Stream settings of a model; saved with it. Defaults are those of Wan2.2-TI2V-5B (docs/method.md section 2).

    Attributes:
        width: pixels of a row.
        height: rows of pixels.
        fps: frames per second of media time.
        chunk: latent frames per chunk.
        window: latent frames in the cache.
        sink: first chunks that stay in the cache.
        timesteps: of the few-step schedule, see ``FewStepSchedule``.
        shift: its flow shift.
        time_labels: its time labels, where they differ from 1000 times the noise level; None where they do not.
        positions: how rotary positions run on, see ``WindowConfig``. "segment" is the paper's.
        garment_box: where training places garments on their white canvas, (x0, y0, x1, y1) in fractions; photos
            are fitted into it.
        kinds: of garments that it was trained on, of "top", "bottom" and "one-piece".

    Raises:
        ValueError: a value out of range.
    """

    width: int = 704
    height: int = 1280
    fps: int = 24
    chunk: int = 3
    window: int = 23
    sink: int = 1
    timesteps: tuple[float, ...] = (1000.0, 750.0, 500.0, 250.0)
    shift: float = 5.0
    time_labels: tuple[float, ...] | None = None
    positions: PositionMode = "auto"
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
        if self.positions not in get_args(PositionMode):
            raise ValueError(f"positions is {self.positions!r}; expected one of {', '.join(get_args(PositionMode))}")
        self.schedule()

    def schedule(self) -> FewStepSchedule:
        """The student's denoising steps."""
        return FewStepSchedule(self.timesteps, self.shift, self.time_labels)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> StreamConfig:
        """Reads JSON or TOML values.

        Raises:
            ValueError: an unknown name, or a value out of range.
        """
        known = [field.name for field in dataclasses.fields(StreamConfig)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"stream has unknown settings {', '.join(unknown)}; expected some of {', '.join(known)}")
        tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return StreamConfig(**tuples)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelNotFoundError(f"{path} not found; expected a model directory in diffusers layout")
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ModelError(f"{path} holds a {type(values).__name__}; expected a JSON object")
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


class _NoInitialValues(TorchFunctionMode):
    """Skips random and constant initial values: stored weights replace them.

    On the meta device they cost nothing but an import of torch's reference implementations, which takes two seconds.
    """

    SKIPPED = frozenset({Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.mul_, Tensor.div_})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in self.SKIPPED else func(*args, **(kwargs or {}))


def load_transformer(folder: Path, dtype: torch.dtype = torch.float32) -> WanTransformer:
    """Our or diffusers' ``transformer/`` folder, frozen.

    Args:
        folder: with ``config.json`` and weights.
        dtype: of the weights, but for those that ``WanTransformer.needs_float32`` names.

    Raises:
        ModelNotFoundError: a file is missing.
    """
    with reading_model(folder):
        config = TransformerConfig.from_dict(_read_json(folder / "config.json"))
        weights = {
            name: value.to(torch.float32 if WanTransformer.needs_float32(name) else dtype)
            for name, value in load_weights(folder).items()
        }
        with torch.device("meta"), _NoInitialValues():
            model = WanTransformer(config)
        model.load_state_dict(weights, assign=True)
        if config.channel_std is not None:  # not a weight, so still on the meta device
            model.channel_std = torch.tensor(config.channel_std)[:, None, None, None]
        return model.eval().requires_grad_(False)


def _moved(
    module: nn.Module, device: torch.device | str, dtype: Callable[[str, torch.Tensor], torch.dtype] | None = None
) -> Any:
    """A copy whose tensors lie on ``device``.

    It shares tensors that need no conversion; the others are copied once, straight to the device, so a text encoder of
    20 GB needs no second place in the host's memory.
    """
    memo: dict[int, Any] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        moved = tensor.detach().to(device=device, dtype=dtype(name, tensor) if dtype else None)
        parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(moved, requires_grad=tensor.requires_grad) if parameter else moved
    return copy.deepcopy(module, memo)


def load_codec(folder: Path) -> Codec:
    """Light or Wan codec, by the class its config names.

    Raises:
        ModelNotFoundError: a file is missing.
        ModelError: damaged, or of another kind.
    """
    with reading_model(folder):
        light = _read_json(folder / "config.json").get("_class_name") == LIGHT_CLASS
    if light:
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
            positions=stream.positions,
        )

    def open_rollout(
        self,
        *,
        batch: int = 1,
        dtype: torch.dtype | None = None,
        rotary: RotaryEmbedding | None = None,
        policy: Policy | None = None,
    ) -> Rollout:
        """Open a rollout over an empty cache, on the transformer's device.

        Args:
            batch: streams side by side.
            dtype: of keys and values; default: the transformer's.
            rotary: what ``rotary`` returned on that device, to share its tables among streams.
            policy: what leaves a full cache; default: first in, first out.
        """
        network = self.transformer
        rotary = rotary or self.rotary(network.device)
        config = self.cache_config(rotary.tokens_per_frame)
        cache = KVCache(config, rotary, batch=batch, device=network.device, dtype=dtype or network.dtype, policy=policy)
        return Rollout(network, cache, self.stream.schedule())

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Components:
        """Copy everything to a device; what is there already, in its dtype, is shared. The codec keeps its dtype.

        Args:
            device: torch device.
            dtype: of the transformer, but for the weights that ``WanTransformer.needs_float32`` names.
        """

        def kept(name: str, tensor: torch.Tensor) -> torch.dtype:
            return torch.float32 if WanTransformer.needs_float32(name) else dtype

        module = _moved(self.prompts.module, device)
        prompts = PromptEncoder(module, self.prompts.tokenizer, self.prompts.max_tokens)
        return dataclasses.replace(
            self,
            transformer=_moved(self.transformer, device, kept),
            codec=_moved(cast(nn.Module, self.codec), device),
            prompts=prompts,
        )

    @staticmethod
    def from_pretrained(directory: Path | str, dtype: torch.dtype = torch.float32) -> Components:
        """Loads a model directory.

        Args:
            directory: in diffusers layout.
            dtype: of the transformer, but for the weights that ``WanTransformer.needs_float32`` names.

        Raises:
            ModelNotFoundError: the directory or a part of it is missing; names it.
            ModelError: a part is damaged, out of range, or does not fit the others.
        """
        root = Path(directory)
        with reading_model(root):
            return Components._load(root, dtype)

    @staticmethod
    def _load(root: Path, dtype: torch.dtype) -> Components:
        index = root / "model_index.json"
        with reading_model(index):
            stream = StreamConfig.from_dict(_read_json(index).get("stream", {}))
        return Components(
            stream=stream,
            transformer=load_transformer(root / "transformer", dtype),
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
