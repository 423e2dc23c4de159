"""How a benchmark's record was made, so that its figures can be traced and repeated."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from quickchange.engine.studio import Studio

ROOT = Path(__file__).resolve().parents[3]


def provenance(studio: Studio, model: Path) -> dict[str, Any]:
    """Date (UTC), code and weights, stream settings and machine, as plain data.

    Args:
        studio: with the model.
        model: the directory that the studio was loaded from. Its name and its transformer's weights are recorded.
    """
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "model": model.name,
        "weights": weights_digest(model / "transformer"),
        "stream": asdict(studio.components.stream),
        "device": str(studio.device),
        "dtype": str(studio.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """Short hash of the checkout that this code lies in; None where it lies in none.

    "-dirty" follows where tracked files differ from the commit.
    """
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def weights_digest(folder: Path) -> str:
    """First 12 hex digits of the SHA-256 over all safetensors of a folder, in order of their names.

    Raises:
        FileNotFoundError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no safetensors in {folder}; give a model's transformer folder")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]
