"""Imports between rooms point one way. The table is the rule; ``docs/architecture.md`` tells it in words."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "quickchange"
LOOSE = {"__init__", "__main__", "cli", "errors", "files"}  # all modules that may lie on the top floor
GROUND = {"errors", "files", "kernels"}

ALLOWED: dict[str, set[str]] = {
    "__init__": {"engine"},
    "__main__": {"cli"},
    "cli": {"commands", "errors"},
    "errors": set(),
    "files": {"errors"},
    "kernels": set(),
    "world": GROUND,
    "media": GROUND,
    "cache": GROUND,
    "model": GROUND,
    "engine": GROUND | {"cache", "model", "media"},
    "parsing": GROUND | {"world"},
    "generate": GROUND | {"media"},
    "data": GROUND | {"media", "model", "parsing", "world"},
    "train": GROUND | {"model", "cache", "engine", "parsing", "world", "data"},
    "evaluate": GROUND | {"media", "model", "cache", "engine", "parsing", "world"},
    "serve": GROUND | {"media", "cache", "engine", "generate"},
    "commands": GROUND | {"media", "model", "engine", "parsing", "generate", "train", "evaluate", "serve", "world"},
}
INSIDE: dict[str, set[str]] = {
    # Within a room, some parts do not know others.
    "engine/session": {"engine/studio", "engine/components"},
    "engine/controls": {"engine", "cache", "model"},
    "serve/protocol": {"serve/sessions", "serve/web"},
    "serve/sessions": {"serve/web"},
}


def module_of(file: Path) -> str:
    """Dotted name below the package, e.g. ``engine.session``."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(file: Path) -> set[str]:
    """Every module of ours that a file imports, anywhere in it: dotted, below the package."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "quickchange":
                found.add(rest)
            assert head not in ("experiments", "examples", "tests"), f"{file} imports {name}"
    return found


FILES = {module_of(file): imports_of(file) for file in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".", 1)[0]


def test_the_top_floor_is_a_table_of_contents() -> None:
    assert {file.stem for file in PACKAGE.glob("*.py")} == LOOSE


def test_every_arrow_between_rooms_is_allowed() -> None:
    assert {room(module) for module in FILES} == set(ALLOWED)
    wrong = {
        f"{module} imports {name}"
        for module, names in FILES.items()
        for name in names
        if room(name) in ALLOWED and room(name) != room(module) and room(name) not in ALLOWED[room(module)]
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_the_table_has_no_circle_and_no_arrow_too_many() -> None:
    order: list[str] = []
    while len(order) < len(ALLOWED):
        free = [name for name, below in ALLOWED.items() if name not in order and below <= set(order)]
        assert free, f"a circle among {set(ALLOWED) - set(order)}"
        order += free
    used: dict[str, set[str]] = defaultdict(set)
    for module, names in FILES.items():
        used[room(module)] |= {room(name) for name in names} & set(ALLOWED)
    idle = {f"{name} -> {below}" for name, allowed in ALLOWED.items() for below in allowed - GROUND - used[name]}
    assert not idle, f"allowed, but not there: {sorted(idle)}"


def test_parts_of_a_room_that_do_not_know_each_other() -> None:
    for part, unknown in INSIDE.items():
        for module, names in FILES.items():
            if f"{module.replace('.', '/')}/".startswith(f"{part}/"):
                for name in names:
                    path = f"{name.replace('.', '/')}/"
                    assert not any(path.startswith(f"{other}/") for other in unknown), f"{module} imports {name}"


def test_stages_do_not_import_each_other() -> None:
    for module, names in FILES.items():
        if module.startswith("train.stages.") and module != "train.stages.latent":
            others = {n for n in names if n.startswith("train.stages.") and not n.startswith("train.stages.latent")}
            assert not others, f"{module} imports {others}"


def test_no_circle_among_modules() -> None:
    """Not even below ``TYPE_CHECKING`` or inside a function."""
    edges = {
        module: {target for name in names if (target := _known(name)) and target != module}
        for module, names in FILES.items()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def _known(name: str) -> str | None:
    """The module that holds ``name``."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or None
