"""The parser: a small convolutional network that reads labels, keypoints and garment attributes off single frames.

It measures generated frames, which have no ground truth. A U-Net over pixels folded 2x2 has residual blocks on the way
down to a sixteenth of the size and skip connections on the way up. Labels have full size. Keypoints are heatmaps of a
quarter of the size, read by a soft-argmax around the peak. Attributes come from features averaged over the network's
own upper-garment label, and over the whole picture.

Shapes: frames_BCHW float in [-1, 1], H and W multiples of 16.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from quickchange.files import reading_model, save_safetensors_atomic, write_json_atomic
from quickchange.parsing.reading import ATTRIBUTES, KEYPOINTS, LABELS, Reading

PARSER_CLASS = "QuickchangePersonParser"
WEIGHTS = "diffusion_pytorch_model.safetensors"
DIVISOR = 16
HEATMAP = 4  # pixels per heatmap cell
WINDOW = 2  # cells around the peak that the soft-argmax looks at
UPPER = LABELS.index("upper")


@dataclass(frozen=True, slots=True)
class ParserConfig:
    """Sizes of the network.

    Attributes:
        widths: channels at a half, a quarter, an eighth and a sixteenth of the picture's size.
        attribute_width: channels that attributes are decided from.
    """

    widths: tuple[int, int, int, int] = (16, 40, 96, 160)
    attribute_width: int = 96

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or min(*self.widths, self.attribute_width) < 1:
            raise ValueError(
                f"widths are {self.widths}, attribute_width {self.attribute_width}; expected four and one positive"
            )


@dataclass(frozen=True, eq=False)
class ParserOutput:
    """Logits of everything.

    Attributes:
        labels: [B, 8, H, W].
        places: [B, 17, H / 4, W / 4], where each keypoint is.
        visible: [B, 17].
        attributes: [B, classes] by name.
    """

    labels: Tensor
    places: Tensor
    visible: Tensor
    attributes: dict[str, Tensor]


def _convolution(narrow: int, wide: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two convolutions and a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to the same shape."""
        return F.relu(x + self.second(self.first(x)))


class PersonParser(nn.Module):
    """The parser network; see the module header."""

    def __init__(self, config: ParserConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ParserConfig()
        widths = config.widths
        self.enter = _convolution(12, widths[0])
        self.down = nn.ModuleList([_convolution(a, b, 2) for a, b in pairwise(widths)])
        self.blocks = nn.ModuleList([Residual(width) for width in widths])
        self.up = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in pairwise(widths)])
        self.merge = nn.ModuleList([_convolution(width, width) for width in widths[:-1]])
        self.labels = nn.Conv2d(widths[0], 4 * len(LABELS), 3, padding=1)
        self.keypoints = nn.Conv2d(widths[1], 2 * len(KEYPOINTS), 3, padding=1)
        self.look = _convolution(widths[0], widths[1], 2)
        pooled = 2 * widths[1] + widths[2] + widths[3]
        self.decide = nn.Sequential(nn.Linear(pooled, config.attribute_width), nn.ReLU(inplace=True))
        self.attributes = nn.ModuleDict(
            {name: nn.Linear(config.attribute_width, len(classes)) for name, classes in ATTRIBUTES.items()}
        )

    def forward(self, frames_BCHW: Tensor) -> ParserOutput:
        """Compute logits of everything.

        Raises:
            ValueError: not RGB, or a size that is no multiple of 16.
        """
        _, channels, height, width = frames_BCHW.shape
        if channels != 3 or height % DIVISOR or width % DIVISOR:
            raise ValueError(f"frames are {width}x{height} with {channels} channels; expected RGB, multiples of 16")
        x = self.enter(F.pixel_unshuffle(frames_BCHW, 2))
        seen = []
        for level, block in enumerate(self.blocks):
            x = block(x if level == 0 else self.down[level - 1](x))
            seen.append(x)
        merged = [seen[-1]]
        for level in (2, 1, 0):
            rough = F.interpolate(self.up[level](merged[-1]), scale_factor=2.0, mode="nearest")
            merged.append(self.merge[level](seen[level] + rough))
        labels = F.pixel_shuffle(self.labels(merged[-1]), 2)
        # Attributes are pooled where the garment is. Detached, so that their loss does not change the labels.
        worn = F.avg_pool2d(labels.detach().float().softmax(1)[:, UPPER : UPPER + 1], 4)
        return ParserOutput(labels, *self._points(merged[2]), self._attributes(seen[-1], merged, worn))

    def _points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places, visible = self.keypoints(x).float().chunk(2, 1)
        where = places.flatten(2).softmax(2)
        return places, (where * visible.flatten(2)).sum(2)

    def _attributes(self, deepest: Tensor, merged: list[Tensor], worn_B1HW: Tensor) -> dict[str, Tensor]:
        """Logits of the attributes, by name.

        Pooled are features at a quarter and an eighth of the size averaged over the garment, their greatest values
        there, and averages over the whole picture.
        """
        fine = self.look(merged[3]).float()
        worn = worn_B1HW.clamp_min(1e-4)
        coarse_worn = F.avg_pool2d(worn, 2)
        mean = (fine * worn).sum((2, 3)) / worn.sum((2, 3))
        greatest = (fine * worn).amax((2, 3))
        eighth = (merged[1].float() * coarse_worn).sum((2, 3)) / coarse_worn.sum((2, 3))
        pooled = torch.cat([mean, greatest, eighth, deepest.float().mean((2, 3))], 1)
        decided = self.decide(pooled)
        return {name: head(decided).float() for name, head in self.attributes.items()}

    @torch.no_grad()
    def read(self, frames: NDArray[np.uint8], batch: int = 32) -> Reading:
        """Read frames; this puts the network into evaluation mode.

        Args:
            frames: u8[T, H, W, 3].
            batch: frames per pass.

        Raises:
            ValueError: not uint8 RGB frames, or a size that is no multiple of 16.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 [T, H, W, 3], T at least 1")
        self.eval()
        parts = [self._read(frames[start : start + batch]) for start in range(0, len(frames), batch)]
        ids, confidence, keypoints = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return Reading(
            ids, confidence, keypoints, {name: np.concatenate([part[3][name] for part in parts]) for name in ATTRIBUTES}
        )

    def _read(self, frames: NDArray[np.uint8]) -> tuple[Any, Any, Any, dict[str, Any]]:
        device = self.labels.weight.device
        x = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        out = self(x.contiguous(memory_format=torch.channels_last))
        best, ids = out.labels.max(1)
        confidence = (best - out.labels.logsumexp(1)).exp()
        points = torch.cat([decode_places(out.places), out.visible.sigmoid()[..., None]], 2)
        attributes = {name: logits.softmax(1).cpu().numpy() for name, logits in out.attributes.items()}
        return ids.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy(), points.cpu().numpy(), attributes

    def save_pretrained(self, folder: Path | str) -> None:
        """Write ``config.json`` and the weights in float16, each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in self.state_dict().items()}
        save_safetensors_atomic(tensors, folder / WEIGHTS)
        write_json_atomic(folder / "config.json", {"_class_name": PARSER_CLASS, **asdict(self.config)})

    @staticmethod
    def from_pretrained(folder: Path | str) -> PersonParser:
        """Load a parser in float32, ready to read.

        Raises:
            ModelNotFoundError: a file is missing.
            ModelError: damaged, or of another kind.
        """
        folder = Path(folder)
        with reading_model(folder):
            values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if values.pop("_class_name", None) != PARSER_CLASS:
                raise ValueError(f"{folder}: config.json is not a {PARSER_CLASS}'s; give a folder with a parser")
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            try:
                config = ParserConfig(**fields)
            except TypeError as error:
                raise ValueError(f"{folder}: config.json does not fit: {error}") from error
            parser = PersonParser(config)
            weights = load_file(folder / WEIGHTS)
            parser.load_state_dict({k: t.float() if t.is_floating_point() else t for k, t in weights.items()})
            return parser.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


def decode_places(places_BKHW: Tensor) -> Tensor:
    """Decode heatmap logits [B, K, H, W] to x, y in pixels, [B, K, 2].

    The place is the mean under the softmax of the cells at most ``WINDOW`` away from the greatest. A mean over the
    whole map would lie between two candidates, where neither is.
    """
    _, _, height, width = places_BKHW.shape
    flat = places_BKHW.flatten(2).float()
    peak = flat.argmax(2, keepdim=True)
    y, x = (torch.arange(n, device=flat.device) for n in (height, width))
    rows, columns = y.repeat_interleave(width), x.repeat(height)
    near = ((rows - peak // width).abs() <= WINDOW) & ((columns - peak % width).abs() <= WINDOW)
    weight = flat.masked_fill(~near, -torch.inf).softmax(2)
    place = torch.stack([(weight * columns).sum(2), (weight * rows).sum(2)], 2)
    return (place + 0.5) * HEATMAP
