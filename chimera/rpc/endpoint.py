"""How an endpoint is named in public: its URL may carry an API key, its name never does."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SHORTEST_SECRET = 8  # shorter parts of a path are words such as "v3" or "rpc"


class Endpoint:
    """A URL, with a label for logs and metrics that is safe to show."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        self.label = f"{parts.hostname or 'unknown'}{port}"
        words = re.split(r"[/?&=;]", f"{parts.path}/{parts.query}")
        self._secrets = [url, *words, parts.username or "", parts.password or ""]

    def redact(self, text: str) -> str:
        """Return `text` without the URL and the parts of it that may be secret, and shortened."""
        for secret in self._secrets:
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text[:300]
