"""What every test shares: an environment without the settings of whoever runs it."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine draws examples slowly and takes its time over each: no fault of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHIMERA_")]:
        if name != "CHIMERA_FORK_URL":
            monkeypatch.delenv(name)
