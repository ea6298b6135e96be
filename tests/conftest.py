"""What every test shares: an environment without the settings of whoever runs it."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHIMERA_")]:
        if name != "CHIMERA_FORK_URL":
            monkeypatch.delenv(name)
