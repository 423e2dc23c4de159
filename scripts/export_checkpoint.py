"""Makes a model directory of a training checkpoint's averaged weights, to look at or score a run before it ends.

    python scripts/export_checkpoint.py models/mini runs/nano/tf/checkpoint-000500.safetensors out/half-way

The first argument is the model directory that the stage started from (``--init`` or the earlier stage): its
codec, tokenizer and settings are kept, its transformer and text encoder get the checkpoint's weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open

from quickchange.components import Components


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    components = Components.from_pretrained(args.model)
    modules = {"transformer": components.transformer.float(), "text": components.prompts.module.float()}
    with safe_open(args.checkpoint, "pt") as tensors, torch.no_grad():
        for key in tensors.keys():  # noqa: SIM118
            kind, _, rest = key.partition(".")
            if kind == "average":
                name, _, parameter = rest.partition(".")
                modules[name].state_dict()[parameter].copy_(tensors.get_tensor(key))
    components.save_pretrained(args.out)


if __name__ == "__main__":
    main()
