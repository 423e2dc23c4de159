"""Makes a model directory of a training checkpoint's averaged weights, to look at or score a run before it ends.

    python scripts/export_checkpoint.py models/mini runs/nano/tf/checkpoint-000500.safetensors out/half-way

The first argument is the model directory that the stage started from (``--init`` or the earlier stage): its
codec, tokenizer and settings are kept, its transformer and text encoder get the checkpoint's weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open

from quickchange.engine.components import Components
from quickchange.train.checkpoints import metadata

STAGES = ("sft", "tf", "dmd")  # of plain networks: merge adapters by finishing the run


def main() -> None:
    """Export a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    stage = metadata(args.checkpoint).get("stage")
    if stage not in STAGES:
        raise SystemExit(f"{args.checkpoint} is of stage {stage!r}; expected one of {', '.join(STAGES)}")
    components = Components.from_pretrained(args.model)
    with safe_open(args.checkpoint, "pt") as tensors:
        average = {key: tensors.get_tensor(key) for key in tensors.keys() if key.startswith("average.")}  # noqa: SIM118
    for name, module in (("transformer", components.transformer.float()), ("text", components.prompts.module.float())):
        start = f"average.{name}."
        state = {key.removeprefix(start): value for key, value in average.items() if key.startswith(start)}
        # Tied weights are stored once, and a frozen text encoder not at all.
        missing, unexpected = module.load_state_dict(state, strict=False)
        if unexpected or (name == "transformer" and missing):
            raise SystemExit(f"{args.checkpoint} does not fit {args.model}: {[*missing, *unexpected][:4]}")
    components.save_pretrained(args.out)


if __name__ == "__main__":
    main()
