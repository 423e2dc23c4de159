"""How a record says how it was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from quickchange.evaluate import record as module
from quickchange.evaluate.record import commit, provenance, weights_digest


def test_a_record_names_weights_and_settings(tmp_path: Path) -> None:
    studio = tiny.studio()
    studio.save_pretrained(tmp_path / "small")
    record = provenance(studio, tmp_path / "small")
    assert record["model"] == "small"
    assert record["stream"]["window"] == 11
    assert (record["device"], record["dtype"]) == ("cpu", "float32")
    json.dumps(record)


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"one")
    first = weights_digest(tmp_path)
    assert first == weights_digest(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"two")
    assert weights_digest(tmp_path) != first
    with pytest.raises(FileNotFoundError, match="no safetensors"):
        weights_digest(tmp_path / "empty")


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert commit() is None
    (tmp_path / ".git").mkdir()  # not a repository either
    assert commit() is None
