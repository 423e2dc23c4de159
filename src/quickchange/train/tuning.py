"""The trainable part of a network: all of it, its attention, or low-rank adapters (docs/method.md section 3).

Adapters are peft's, put into our own modules in place. While they are there the network's parameter names are peft's
(``to_q.base_layer.weight``, ``to_q.lora_A...``); ``merged`` gives the ordinary network of the same function.
"""

from __future__ import annotations

import re
from typing import Literal

import torch

from quickchange.errors import RecipeError
from quickchange.model.transformer import WanTransformer

Tuning = Literal["full", "attention", "lora"]
ADAPTER = "default"
# Linear layers of attention (self and cross) and feed-forward, by their names inside WanTransformer.
ADAPTED = r"blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ffn\.net\.(0\.proj|2))"
ATTENTION = re.compile(r"blocks\.\d+\.attn[12]\.")


def apply_tuning(
    model: WanTransformer, tuning: Tuning, rank: int = 16, alpha: float | None = None, *, muon: bool = False
) -> None:
    """Freezes what ``tuning`` leaves alone; for "lora" puts adapters into ``model``, in place.

    Args:
        model: the network.
        tuning: "full": every parameter moves. "attention": projections of self- and cross-attention and their query
            and key norms. "lora": adapters on the linear layers of attention and feed-forward, which start as no
            change.
        rank: of the adapters.
        alpha: their scale times the rank; default: the rank.
        muon: whether Muon optimises matrices.

    Raises:
        RecipeError: a rank below 1; "lora" with Muon, which is for full matrices, or on a variant of the network.
    """
    if tuning == "full":
        return
    model.requires_grad_(False)
    if tuning == "attention":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(ATTENTION.match(name) is not None)
        return
    if type(model) is not WanTransformer:
        raise RecipeError(f"lora adapts an in-context network, not a {type(model).__name__}; set tuning to full")
    if rank < 1 or muon:
        raise RecipeError(
            f"lora_rank is {rank}, muon is {'on' if muon else 'off'}; lora needs a rank >= 1 and muon = 0"
        )
    from peft import LoraConfig, inject_adapter_in_model

    scale = rank if alpha is None else alpha
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=scale, target_modules=ADAPTED), model, ADAPTER)


def merged(model: WanTransformer) -> WanTransformer:
    """The network with its adapters added to its weights: an ordinary ``WanTransformer``.

    ``model`` stays as it is; weights that no adapter touches are shared with it.
    """
    from peft.tuners.lora import Linear

    changes = {
        name: layer.get_delta_weight(ADAPTER) for name, layer in model.named_modules() if isinstance(layer, Linear)
    }
    weights = {}
    for key, value in model.state_dict().items():
        if ".lora_" in key:
            continue
        owner, _, kind = key.replace(".base_layer", "").rpartition(".")
        changed = kind == "weight" and owner in changes
        weights[f"{owner}.{kind}" if owner else kind] = value + changes[owner].to(value) if changed else value
    with torch.device("meta"):
        plain = WanTransformer(model.config)
    plain.load_state_dict(weights, assign=True)
    plain.channel_std = model.channel_std
    return plain.train(model.training)
