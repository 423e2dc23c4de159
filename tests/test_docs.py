"""What the documents name exists: paths, names of the code, and the sections of the method that the code cites."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "quickchange"
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}
WRITTEN = {"out", "data", "runs"}  # made by commands, not tracked; data/ is a room as well
CODED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
NAME = re.compile(r"[a-z_]+(?:\.[a-z_]+)*\.[A-Z]\w+(?:\.\w+)?")


def _spans(page: Path) -> list[str]:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return CODED.findall(text)


@cache
def _sources() -> dict[str, str]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text(encoding="utf-8")
        for folder in ("src", "experiments", "examples", "scripts", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }


def _missing_path(span: str) -> bool:
    """Whether it looks like a path below a known folder, or like a source file, and is not there."""
    if not PATH.fullmatch(span) or "/" not in span or span.split("/")[0] not in FOLDERS - WRITTEN:
        return False
    return not any((base / span).exists() for base in (ROOT, PACKAGE, PACKAGE / "world"))


def _missing_name(span: str) -> bool:
    """Whether it reads ``module.Name`` or ``module.Name.member`` and no module of that name holds it."""
    if not NAME.fullmatch(span):
        return False
    module, name = re.split(r"\.(?=[A-Z])", span, maxsplit=1)
    owners = [text for path, text in _sources().items() if f".{path}".removesuffix(".__init__").endswith(f".{module}")]
    return not any(all(re.search(rf"\b{part}\b", text) for part in name.split(".")) for text in owners)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_names(page: Path) -> None:
    assert [span for span in _spans(page) if _missing_path(span) or _missing_name(span)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_cited_sections_exist() -> None:
    headings = set(re.findall(r"^## (\d+)\. ", (ROOT / "docs" / "method.md").read_text(encoding="utf-8"), re.M))
    own = ".".join(Path(__file__).relative_to(ROOT).with_suffix("").parts)
    cited = {
        (path, number)
        for path, text in _sources().items()
        if path != own
        for number in re.findall(r"docs/method\.md section (\d+)", text)
    }
    assert len(cited) > 10
    assert sorted((path, number) for path, number in cited if number not in headings) == []
    assert [path for path, text in _sources().items() if path != own and "METHOD section" in text] == []


def test_missing_things_are_found() -> None:
    assert _missing_path("docs/nothing.md")
    assert _missing_name("errors.Nothing")
    assert not _missing_name("errors.InputError")
