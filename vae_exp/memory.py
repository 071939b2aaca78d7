"""What a computation takes in memory, held against what is left of it, before it begins."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from vae_exp.errors import UserError

CPU = torch.device("cpu")
COPIES = 3  # of a layer's output at a time: itself, its gradient and what lies between the two


def require(needed: float, sizes: Mapping[str, int], device: torch.device = CPU) -> None:
    """Refuse a computation that takes more bytes than are left; ``sizes`` are what it grows with.

    Raises UserError naming the key of the largest of them.
    """
    left = available(device)
    if needed <= left:
        return
    (key, size), *others = sorted(sizes.items(), key=lambda item: -item[1])
    beside = ", ".join(f"{name} {other:,}" for name, other in others)
    raise UserError(
        f"{key} of {size:,} takes {_words(needed)} of memory"
        + (f" (beside {beside})" if beside else "")
        + f", and {_words(left)} are free: lower {key}"
    )


def of_weights(network: nn.Module) -> int:
    """Bytes of a network's parameters."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def of_a_row(network: nn.Module) -> int:
    """About the bytes that a row takes on its way through a network, forward and back.

    Counted are the layers that tell their ``out_features``, as linear ones do.
    """
    told = [
        (getattr(layer, "out_features", 0), next(layer.parameters(recurse=False), None))
        for layer in network.modules()
    ]
    return sum(COPIES * int(size) * w.element_size() for size, w in told if w is not None)


def available(device: torch.device = CPU) -> float:
    """Bytes that this process can still take, on the machine or on a GPU."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(_free(), *_below_limits())


def _free(meminfo: Path = Path("/proc/meminfo")) -> float:
    """What the machine could hand out without swapping; all that it has if it tells no more."""
    try:
        [line] = [
            line
            for line in meminfo.read_text(encoding="utf-8").splitlines()
            if "MemAvailable" in line
        ]
        return 1024.0 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows does not tell
        return math.inf


def _below_limits(root: Path = Path("/")) -> Iterator[float]:
    """What the limits of this process's control groups leave, of both versions; inf at least once.

    A file cache that can be dropped counts as free.
    """
    yield math.inf
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        mount = root / "sys/fs/cgroup"
        if controllers == "":
            limit, usage, cache = "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            mount /= "memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        folder = mount / path.lstrip("/")
        # In a container the group's own path may not exist: its limit then lies at the mount.
        for group in (folder, *(parent for parent in folder.parents if mount in parent.parents)):
            yield _left_in(group, limit, usage, cache)
        yield _left_in(mount, limit, usage, cache)


def _left_in(group: Path, limit: str, usage: str, cache: str) -> float:
    try:
        most, used = (int((group / name).read_text(encoding="utf-8")) for name in (limit, usage))
        stat = dict(
            line.split()
            for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        )
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return math.inf
    return max(0.0, most - used + int(stat.get(cache, 0)))


def _words(size: float) -> str:
    """Bytes as a person says them."""
    units = ("bytes", "kB", "MB", "GB", "TB", "PB")
    power = min(len(units) - 1, int(math.log10(max(size, 1)) // 3))
    return f"{size / 1000**power:,.3g} {units[power]}"
