#!/usr/bin/env python3
"""Files and folders as one archive in parts of bounded size with checksums, and back. Standard library only.

    python parts.py pack OUT ROOT NAME... [--mib 15] [--only 0-3]      names are paths below ROOT
    python parts.py unpack OUT ROOT

``OUT`` gets ``part-0000``, ... and ``manifest.json``. The same files give the same bytes, so parts may be fetched a few
at a time (``--only``), from several calls. Every file written is complete or absent; unpacking checks all parts first,
and replaces files below ``ROOT`` one by one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MANIFEST = "manifest.json"
BLOCK = 1 << 20


class PartsError(Exception):
    """Parts are missing or damaged, or there is nothing to pack."""


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file beside ``path`` that takes its place when it is complete."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leaves out what differs between two copies of the same file: owner, time, permissions."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.isdir() else 0o644
    return info


def archive(root: Path, names: list[str], out: IO[bytes]) -> None:
    """An uncompressed tar of ``names`` below ``root``, sorted. PartsError where one is missing."""
    files: set[Path] = set()
    for name in names:
        source = root / name
        if not source.exists():
            raise PartsError(f"{source} is not there")
        files |= {p for p in source.rglob("*") if p.is_file()} if source.is_dir() else {source}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            tar.add(path, path.relative_to(root).as_posix(), recursive=False, filter=plain)


def chosen(only: str | None, count: int) -> range:
    """``"2-5"`` -> parts 2 to 5; ``"2"`` -> part 2; None -> all."""
    if only is None:
        return range(count)
    first, _, last = only.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise PartsError(f"--only is {only!r}; expected a number or two, as in 0-3")
    return range(int(first), min(count, int(last or first) + 1))


def pack(out: Path, root: Path, names: list[str], size: int, only: str | None = None) -> dict[str, Any]:
    """Writes the parts of ``size`` bytes that ``only`` names, and the manifest of all of them; returns it."""
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("part-*"), out / MANIFEST]:
        old.unlink(missing_ok=True)
    parts = []
    with tempfile.TemporaryFile(dir=out) as whole:
        archive(root, names, whole)
        total = whole.tell()
        wanted = chosen(only, -(-total // size))
        whole.seek(0)
        for number in range(-(-total // size)):
            data = whole.read(size)
            name = f"part-{number:04d}"
            parts.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
            if number in wanted:
                with atomic(out / name) as target:
                    target.write(data)
    manifest = {"bytes": total, "parts": parts}
    with atomic(out / MANIFEST) as target:
        target.write((json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def digest(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def unpack(out: Path, root: Path) -> list[str]:
    """Checks and joins the parts, and puts the files in place; returns their names.

    Raises:
        PartsError: no manifest; parts that are missing or have other bytes, named.
    """
    if not (out / MANIFEST).is_file():
        raise PartsError(f"{out / MANIFEST} is not there")
    parts = json.loads((out / MANIFEST).read_text())["parts"]
    missing = [part["name"] for part in parts if not (out / part["name"]).is_file()]
    if missing:
        raise PartsError(f"{out} lacks {len(missing)} of {len(parts)} parts: {' '.join(missing[:8])}")
    damaged = [part["name"] for part in parts if digest(out / part["name"]) != part["sha256"]]
    if damaged:
        raise PartsError(f"{out}: damaged, fetch again: {' '.join(damaged[:8])}")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack.", dir=root) as folder:
        joined, files = Path(folder, "whole.tar"), Path(folder, "files")
        with joined.open("wb") as target:
            for part in parts:
                with (out / part["name"]).open("rb") as source:
                    shutil.copyfileobj(source, target, BLOCK)
        with tarfile.open(joined) as tar:
            tar.extractall(files, filter="data")
        names = sorted(p.relative_to(files).as_posix() for p in files.rglob("*") if p.is_file())
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(files / name, root / name)
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    packing, unpacking = actions.add_parser("pack"), actions.add_parser("unpack")
    for action in (packing, unpacking):
        action.add_argument("out", type=Path)
        action.add_argument("root", type=Path)
    packing.add_argument("names", nargs="+")
    packing.add_argument("--mib", type=float, default=15, help="greatest size of a part (default: %(default)s)")
    packing.add_argument("--only", metavar="FIRST-LAST", help="write only these parts (default: all)")
    args = parser.parse_args()
    try:
        if args.action == "unpack":
            names = unpack(args.out, args.root)
            sys.stdout.write(f"{len(names)} files from {args.out} are in {args.root}\n")
        else:
            manifest = pack(args.out, args.root, args.names, max(1, int(args.mib * BLOCK)), args.only)
            count = len(manifest["parts"])
            sys.stdout.write(f"{manifest['bytes']} bytes in {count} parts, 0 to {count - 1}, in {args.out}\n")
    except PartsError as error:
        sys.stderr.write(f"parts: error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
