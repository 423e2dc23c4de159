"""Visual quality: MUSIQ (the paper's VQ), as VBench's imaging quality uses it: trained on SPAQ, score / 100.

Weights: pyiqa's conversion of Google's checkpoint, ``musiq_spaq_ckpt-358bb6af.pth``. That file is pickled, which is not
read here; convert it once, in a shell:

    python -c "import torch, safetensors.torch as s; s.save_file(torch.load('musiq_spaq_ckpt-358bb6af.pth', \
weights_only=True)['params'], 'musiq_spaq.safetensors')"
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file

from quickchange.errors import InputError
from quickchange.evaluate.paper.judges.base import Judge, Metric, spread_out, weights_path
from quickchange.evaluate.paper.judges.musiq_net import Musiq, MusiqConfig
from quickchange.evaluate.types import Frames

FILE = "musiq_spaq.safetensors"
ORIGIN = (
    "github.com/chaofengc/IQA-PyTorch/releases (v0.1-weights, musiq_spaq_ckpt-358bb6af.pth; convert it as "
    "evaluate/paper/judges/musiq.py says)"
)
LONGEST = 512  # pixels; VBench shrinks larger frames


def load_musiq(path: Path, heads: int = 6) -> Musiq:
    """Load a network; its sizes are read off the tensors.

    Raises:
        InputError: not safetensors, or not MUSIQ's parameters.
    """
    try:
        tensors = load_file(path)
        blocks = [name for name in tensors if name.endswith("attention.query.weight")]
        encoder = "transformer_encoder."
        levels = tensors["head.weight" if "head.weight" in tensors else "head.0.weight"].shape[0]
        hidden, width = tensors[f"{encoder}transformer.encoderblock_0.mlp.fc1.weight"].shape
        config = MusiqConfig(
            width=width,
            mlp=hidden,
            heads=heads,
            layers=len(blocks),
            grid=round(tensors[f"{encoder}posembed_input.position_emb"].shape[1] ** 0.5),
            levels=levels,
        )
        network = Musiq(config)
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not MUSIQ weights ({error}); get them from {ORIGIN}") from error
    return network.eval().requires_grad_(False)


class MusiqJudge(Judge):
    """Mean MUSIQ score over up to ``most`` frames."""

    name = "musiq"
    metrics = (
        Metric(
            name="visual_quality",
            column="VQ",
            low=0.0,
            high=1.0,
            higher_is_better=True,
            source="Ke et al., MUSIQ, ICCV 2021; Huang et al., VBench, CVPR 2024 (imaging quality)",
        ),
    )

    def __init__(self, device: str = "cpu", most: int = 32) -> None:
        super().__init__(device)
        self.most = most
        self.network = load_musiq(weights_path(self.name, FILE, ORIGIN)).to(self.device)

    @torch.inference_mode()
    def score(self, frames: Frames, reference: Frames, garment: Frames, prompt: str) -> dict[str, float]:
        """See ``Judge.score``."""
        scale = min(1.0, LONGEST / max(frames.shape[1:3]))
        marks = []
        for index in spread_out(len(frames), self.most):
            x = torch.from_numpy(frames[index]).to(self.device).permute(2, 0, 1)[None].float() / 255
            if scale < 1:
                shape = [int(n * scale) for n in x.shape[2:]]
                x = F.interpolate(x, shape, mode="bilinear")
            marks.append(float(self.network(x)))
        return {"visual_quality": float(np.mean(marks)) / 100}
