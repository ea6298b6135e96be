"""The HTTP interface: what the daemon knows, as JSON, and the operator's few requests."""

from chimera.api.server import ApiServer, build_app

__all__ = ["ApiServer", "build_app"]
