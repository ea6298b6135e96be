"""The command line as an operator types it: a process of its own, and what it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

DONE, FAULT, REFUSED, UNREACHABLE = 0, 1, 2, 3


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401  (JSON)
        return json.loads(self.out)


def chimera(*words: str, config: Path, **environment: str) -> Said:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("CHIMERA_")}
    done = subprocess.run(
        [sys.executable, "-m", "chimera", *words, "--config", str(config)],
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)
