"""Parser stage: labels, keypoints and attributes of single frames; see model/parser.py.

Loss: cross-entropy of labels, where small ones count more; cross-entropy of every keypoint's heatmap to a small bump
around its true place (hidden points count half, those outside not at all) and of its visibility; cross-entropy of the
attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quickchange.data.parsing_frames import Frames, load_frames
from quickchange.engine.components import load_codec
from quickchange.parsing.augment import disturb, move
from quickchange.parsing.network import HEATMAP, ParserOutput, PersonParser
from quickchange.parsing.reading import ATTRIBUTES, overlay
from quickchange.train.config import StageConfig, read_parser_recipe
from quickchange.train.inputs import Inputs
from quickchange.train.options import Options, option
from quickchange.train.plots import save_sheet, to_uint8
from quickchange.train.stage import Stage
from quickchange.world.keypoints import HIDDEN, VISIBLE

# In the order of LABELS: what is small or thin counts more.
LABEL_WEIGHTS = (0.6, 1.3, 1.5, 1.0, 1.2, 2.0, 1.5, 5.0)
BUMP = 0.8  # standard deviation of a heatmap's target, in cells
ATTRIBUTE_WEIGHT, PLACE_WEIGHT, VISIBLE_WEIGHT = 0.15, 0.5, 0.3


def bumps(keypoints_BK3: Tensor, height: int, width: int) -> Tensor:
    """Target heatmaps [B, K, H / 4, W / 4] that sum to one, for keypoints in pixels."""
    y, x = (torch.arange(n // HEATMAP, device=keypoints_BK3.device) + 0.5 for n in (height, width))
    at = keypoints_BK3 / HEATMAP
    across = -((x - at[..., 0:1]) ** 2) / (2 * BUMP**2)
    down = -((y - at[..., 1:2]) ** 2) / (2 * BUMP**2)
    return down.softmax(-1)[..., :, None] * across.softmax(-1)[..., None, :]


def parser_losses(
    out: ParserOutput, ids_BHW: Tensor, keypoints_BK3: Tensor, attributes_BA: Tensor
) -> dict[str, Tensor]:
    """``loss`` and its parts ``labels``, ``places``, ``visible``, ``attributes``; see the module header."""
    weights = torch.tensor(LABEL_WEIGHTS, device=ids_BHW.device)
    labels = F.cross_entropy(out.labels.float(), ids_BHW.long(), weights)
    seen = keypoints_BK3[..., 2]
    importance = (seen == VISIBLE) + 0.5 * (seen == HIDDEN)
    target = bumps(keypoints_BK3, *ids_BHW.shape[1:])
    log_places = out.places.flatten(2).log_softmax(2)
    surprise = -(target.flatten(2) * log_places).sum(2)
    places = (surprise * importance).sum() / importance.sum().clamp_min(1)
    visible = F.binary_cross_entropy_with_logits(out.visible, (seen == VISIBLE).float())
    attributes = torch.stack(
        [F.cross_entropy(out.attributes[name], attributes_BA[:, i]) for i, name in enumerate(ATTRIBUTES)]
    ).sum()
    loss = labels + PLACE_WEIGHT * places + VISIBLE_WEIGHT * visible + ATTRIBUTE_WEIGHT * attributes
    return {"loss": loss, "labels": labels, "places": places, "visible": visible, "attributes": attributes}


@dataclass(frozen=True, kw_only=True)
class ParserOptions(Options):
    """Options of the human parser's training."""

    frames: int = option(8, "frames of each clip")
    codec: str | None = option(None, "folder of a codec that half of the frames go through")
    noise: float = option(0.3, "noise on the codec's latents, relative to their spread")


class ParserStage(Stage):
    """Labels, keypoints and attributes of single frames; see the module header."""

    name = "parser"
    Options = ParserOptions

    def __init__(
        self, parser: PersonParser, data: Frames, config: StageConfig, device: torch.device, export: Callable[[], None]
    ) -> None:
        super().__init__(config, {"parser": parser})
        self.parser = parser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data, self.device, self.export = data, device, export

    @classmethod
    def build(cls, inputs: Inputs) -> ParserStage:
        """From scratch. The parser shares nothing with the video model, but for a codec that it may read through."""
        parser_config, config = read_parser_recipe(inputs.path)
        torch.manual_seed(config.seed)
        parser, options = PersonParser(parser_config).to(inputs.device), cast(ParserOptions, config.options)
        codec = load_codec(Path(options.codec)) if options.codec else None
        frames = load_frames(inputs.data, options.frames, codec, options.noise, config.seed)
        home = inputs.folder / inputs.name / "model"
        stage = cls(parser, frames, config, inputs.device, lambda: parser.save_pretrained(home))
        stage.recipe["parser"] = asdict(parser_config)
        return stage

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Augmented frames_BCHW, ids_BHW, keypoints_BK3, attributes_BA."""
        rng = np.random.default_rng([self.config.seed, step])
        picks = np.sort(rng.integers(0, len(self.data), self.config.batch))
        frames = torch.from_numpy(self.data.frames[picks]).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
        ids, keypoints, attributes = (
            torch.from_numpy(x[picks]) for x in (self.data.ids, self.data.keypoints, self.data.attributes)
        )
        frames, ids, keypoints = move(frames, ids, keypoints, generator)
        frames = disturb(frames, generator).to(self.device).contiguous(memory_format=torch.channels_last)
        return frames, ids.to(self.device), keypoints.to(self.device), attributes.to(self.device)

    def losses(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss over a batch, and its parts."""
        frames, ids, keypoints, attributes = self.batch(step, generator)
        self.parser.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            out = self.parser(frames)
        losses = parser_losses(out, ids, keypoints, attributes)
        right = [out.attributes[name].argmax(1) == attributes[:, i] for i, name in enumerate(ATTRIBUTES)]
        return {**losses, "attributes_right": torch.stack(right).float().mean()}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """Overlays on augmented frames."""
        frames, *_ = self.batch(0, torch.Generator().manual_seed(0))
        pictures = to_uint8(frames[:16].permute(1, 0, 2, 3))
        drawn = overlay(pictures, self.parser.read(pictures), 2)
        whole = pictures.repeat(2, 1).repeat(2, 2)
        rows = [[x for pair in zip(whole, drawn, strict=True) for x in pair][i : i + 8] for i in range(0, 32, 8)]
        save_sheet([row for row in rows if len(row) == 8] or [[whole[0], drawn[0]]], path, scale=1)

    def finish(self) -> None:
        """Export the parser."""
        self.parser.eval()
        self.export()
