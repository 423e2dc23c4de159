"""The paper's reward: LAION's improved aesthetic predictor on CLIP ViT-L/14 embeddings (docs/method.md section 5).

A folder of weights holds CLIP's vision tower as transformers saves it, and the head:

    config.json, model.safetensors, preprocessor_config.json     e.g. of openai/clip-vit-large-patch14
    head.safetensors                                             converted from sac+logos+ava1-l14-linearMSE.pth

The public head is a pickled file, which is not read here; convert it once, in a shell:

    python -c "import torch, safetensors.torch as s; s.save_file(torch.load('sac+logos+ava1-l14-linearMSE.pth', \
weights_only=True), 'head.safetensors')"

Source: github.com/christophschuhmann/improved-aesthetic-predictor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from quickchange.errors import InputError

HEAD = "head.safetensors"
ORIGIN = "openai/clip-vit-large-patch14 and improved-aesthetic-predictor's head (see train/rewards/aesthetic.py)"


def load_head(path: Path, width: int) -> nn.Sequential:
    """The predictor: linear layers without activations between them, as published, dropout left out.

    Args:
        path: safetensors with ``layers.N.weight`` and ``layers.N.bias`` (or one ``weight`` and ``bias``, as in LAION's
            first, linear predictor).
        width: of CLIP's image embedding.

    Raises:
        InputError: unreadable, or layers that do not chain from ``width`` to 1.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error}); see train/rewards/aesthetic.py") from error
    names = sorted(
        (name.removesuffix("weight") for name in tensors if name.endswith("weight")),
        key=lambda prefix: [int(part) for part in prefix.split(".") if part.isdigit()],
    )
    layers, into = nn.Sequential(), width
    for prefix in names:
        weight, bias = tensors[prefix + "weight"], tensors.get(prefix + "bias")
        if weight.ndim != 2 or weight.shape[1] != into or bias is None or bias.shape != weight.shape[:1]:
            raise InputError(f"{path}: layer {prefix!r} is {list(weight.shape)}; expected [n, {into}] and a bias")
        layer = nn.Linear(*weight.shape[::-1])
        layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        layers.append(layer)
        into = len(weight)
    if into != 1 or not names:
        raise InputError(f"{path}: the last layer gives {into} values; expected 1 score")
    return layers


class AestheticReward:
    """Aesthetic score of every frame, about 1 (poor) to 10; the reference is not looked at.

    Args:
        weights: the folder described in the module header. device: torch device.
        batch: frames through CLIP at once.

    Raises:
        InputError: weights are missing or unusable.
    """

    def __init__(self, weights: Path, device: torch.device | str = "cpu", batch: int = 32) -> None:
        for name in ("config.json", "model.safetensors", "preprocessor_config.json", HEAD):
            if not (weights / name).is_file():
                raise InputError(f"weights not found at {weights / name}, get them from {ORIGIN}")
        from transformers import CLIPVisionModelWithProjection

        self.clip: Any = CLIPVisionModelWithProjection.from_pretrained(
            weights, local_files_only=True, use_safetensors=True
        )
        self.clip.eval().requires_grad_(False).to(device)
        self.head = load_head(weights / HEAD, self.clip.config.projection_dim).eval().requires_grad_(False).to(device)
        given = json.loads((weights / "preprocessor_config.json").read_text(encoding="utf-8"))
        self.mean, self.std = (
            torch.tensor(given[key], device=device).view(1, 3, 1, 1) for key in ("image_mean", "image_std")
        )
        self.batch = batch

    @torch.no_grad()
    def __call__(self, frames_BCTHW: Tensor, reference_BCHW: Tensor) -> Tensor:
        """Aesthetic score of every frame, [B, T]."""
        frames = frames_BCTHW.transpose(1, 2).flatten(0, 1)
        scores = [self.score(part) for part in frames.split(self.batch)]
        return torch.cat(scores).unflatten(0, (len(frames_BCTHW), -1))

    def score(self, frames_NCHW: Tensor) -> Tensor:
        """[N] scores of frames in [-1, 1]: short side to CLIP's size (bicubic), centre crop, unit embedding, head."""
        size = int(self.clip.config.image_size)
        height, width = frames_NCHW.shape[2:]
        scale = size / min(height, width)
        shape = max(size, round(height * scale)), max(size, round(width * scale))
        # 8 bits first, as CLIP's training pictures were; the published predictor was fitted on those.
        x = ((frames_NCHW.float().clamp(-1, 1) + 1) * 127.5).round() / 255
        x = F.interpolate(x, shape, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
        x = (x[:, :, top : top + size, left : left + size] - self.mean) / self.std
        embedding = F.normalize(self.clip(pixel_values=x).image_embeds.float(), dim=-1)
        return self.head(embedding)[:, 0]
