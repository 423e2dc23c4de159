"""Files: written so that they are complete or absent, and read as untrusted."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickchange.errors import ModelError, ModelNotFoundError

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_REASON = 400  # characters; torch names every weight of another size


@contextmanager
def reading_model(part: Path | str) -> Iterator[None]:
    """Turn whatever reading untrusted weights and configs raises into one error that names the part.

    Args:
        part: the file or folder that is read.

    Raises:
        ModelNotFoundError: a file is missing.
        ModelError: damaged, or of another kind.
    """
    from safetensors import SafetensorError

    try:
        yield
    except ModelError:
        raise
    except FileNotFoundError as error:
        what = " ".join(str(error.filename or error).split())
        raise ModelNotFoundError(f"{part}: {what} is missing") from error
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError, SafetensorError) as error:
        kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        cut = f"{reason[:LONGEST_REASON]} ..." if len(reason) > LONGEST_REASON else reason
        raise ModelError(f"{part} is damaged or does not fit: {cut}") from error


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path in the same folder, same ending; moves it to ``path`` on success, removes it on error."""
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path | str, text: str) -> None:
    """Write UTF-8 text; the file is complete or unchanged."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomic(path: Path | str, value: Any) -> None:
    """Indented JSON with a final newline."""
    write_text_atomic(path, json.dumps(value, indent=2) + "\n")


def save_safetensors_atomic(
    tensors: dict[str, Tensor], path: Path | str, metadata: dict[str, str] | None = None
) -> None:
    """Contiguous copies of ``tensors`` as one safetensors file."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, str(temporary), metadata=metadata)
