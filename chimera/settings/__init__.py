"""The configuration: one TOML file, overridden by the environment, as frozen models."""

from chimera.settings.loading import load, shipped_config
from chimera.settings.models import (
    ChainSettings,
    DetectionSettings,
    HistorySettings,
    HttpSettings,
    LogSettings,
    ProtocolSettings,
    ReconcileSettings,
    RedisSettings,
    RpcSettings,
    Settings,
)

__all__ = [
    "ChainSettings",
    "DetectionSettings",
    "HistorySettings",
    "HttpSettings",
    "LogSettings",
    "ProtocolSettings",
    "ReconcileSettings",
    "RedisSettings",
    "RpcSettings",
    "Settings",
    "load",
    "shipped_config",
]
