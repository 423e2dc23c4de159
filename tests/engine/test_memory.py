"""What the host says of its memory, in every dialect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from quickchange.engine.memory import free_bytes, host_free_bytes

GIB = 1 << 30


def system(root: Path, files: dict[str, str]) -> Path:
    """A file system with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": f"MemTotal: {32 * 1024**2} kB\nMemFree: 100 kB\nMemAvailable: {8 * 1024**2} kB\n"}
VERSION_2 = {"proc/self/cgroup": "0::/box/inner\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4 * GIB),
        (MEMINFO, 8 * GIB),  # not MemFree: the page cache gives way
        (MEMINFO | VERSION_2 | {"sys/fs/cgroup/box/inner/memory.max": "max\n"}, 8 * GIB),
        (
            MEMINFO
            | VERSION_2
            | {
                "sys/fs/cgroup/box/inner/memory.max": "max\n",
                "sys/fs/cgroup/box/memory.max": f"{2 * GIB}\n",  # the limit may be a parent's
                "sys/fs/cgroup/box/memory.current": f"{GIB}\n",
                "sys/fs/cgroup/box/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n",
            },
            3 * GIB // 2,
        ),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "1000",
                "sys/fs/cgroup/memory.current": "2000",
            },
            0,
        ),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "5:cpu:/a\n4:memory:/a\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{3 * GIB}",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": f"{2 * GIB}",
                "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 0\n",
            },
            GIB,
        ),
    ],
)
def test_the_least_of_what_kernel_and_container_leave(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert host_free_bytes(system(tmp_path, files)) == expected


def test_this_machine_has_some() -> None:
    assert free_bytes(torch.device("cpu")) > 0
