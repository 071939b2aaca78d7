"""Where a benchmark ran."""

import os
import platform
from pathlib import Path

import torch

from vae_exp.runs.saving import provenance


def describe() -> dict[str, object]:
    """Processor, cores, threads, versions."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **provenance(),
    }


def processor() -> str:
    """The processor's name, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
