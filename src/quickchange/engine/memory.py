"""Memory that is free for another stream."""

from __future__ import annotations

from pathlib import Path

import torch

UNLIMITED = 1 << 60
"""Limits from here on mean none: cgroup v1 writes a number near 2**63."""


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated on ``device`` now: on the host, page cache counts as free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return host_free_bytes()


def host_free_bytes(root: Path = Path("/")) -> int:
    """Bytes free on the host, or in the container that the process runs in, whichever is less.

    Args:
        root: where ``proc/`` and ``sys/`` lie.

    Returns:
        The kernel's estimate (MemAvailable), bounded by what the limits of all enclosing control groups leave. On
        systems that say neither: 4 GiB.
    """
    bounds = [_available(root), *(limit - used for limit, used in _limits(root))]
    known = [bound for bound in bounds if bound is not None]
    return max(0, min(known)) if known else 4 << 30


def _available(root: Path) -> int | None:
    for line in _lines(root / "proc" / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _limits(root: Path) -> list[tuple[int, int]]:
    """Limit and use of every control group that holds this process and has a limit; files' pages are not use."""
    found = []
    for line in _lines(root / "proc" / "self" / "cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount, limit, used, cached = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            limit, used, cached = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        group = mount / path.strip().lstrip("/")
        for folder in (group, *group.parents):
            bound = _number(folder / limit)
            if bound is not None and bound < UNLIMITED:
                reclaimable = dict(entry.split() for entry in _lines(folder / "memory.stat") if len(entry.split()) == 2)
                found.append((bound, (_number(folder / used) or 0) - int(reclaimable.get(cached, 0))))
            if folder == mount:
                break
    return found


def _number(file: Path) -> int | None:
    """None where the file is missing or says "max"."""
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
