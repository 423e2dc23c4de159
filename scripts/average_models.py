"""Writes the model half way (or elsewhere) between two exported models whose transformers alone differ.

python scripts/average_models.py runs/nano/tf/model runs/nano/dmd/model runs/nano/mean --weight 0.5
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from quickchange.engine.components import Components


def main() -> None:
    """Average two models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weight", type=float, default=0.5, help="of the second model, 0 to 1")
    args = parser.parse_args()
    first, second = (Components.from_pretrained(path) for path in (args.first, args.second))
    ours, theirs = first.transformer.state_dict(), second.transformer.state_dict()
    with torch.no_grad():
        for key, value in ours.items():
            value.lerp_(theirs[key], args.weight)
    first.save_pretrained(args.out, dtype=torch.float16)


if __name__ == "__main__":
    main()
