"""On what a measurement was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

PARTS = ("numpy", "redis", "msgspec", "web3", "eth-abi", "websockets")
CPU_FACTS = Path("/proc/cpuinfo")


def machine() -> dict[str, object]:
    """Return processor, cores, their load before, and the versions that decide about speed."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{part: version(part) for part in PARTS},
    }


def cpu_model() -> str:
    """Return the processor's name as the kernel knows it."""
    if CPU_FACTS.is_file():
        for line in CPU_FACTS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"
