"""The running daemon, asked over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from chimera.errors import ChimeraError, Refuse, Skip, StaleCursor, Unreachable

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 20.0
MOST_ITEMS = 1000  # of one page
TRIES = 3  # of a listing whose block leaves the daemon's memory meanwhile

Document = dict[str, Any]


class NoDaemon(Unreachable):
    """Nothing listens there."""


def daemon_url(listen: str) -> str | None:
    """
    Return where a daemon with this `http.listen` is asked, None when that cannot be known.

    A daemon that listens on every address is asked on the loopback.
    """
    host, _, port = listen.rpartition(":")
    if not host or port == "0":
        return None
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  (read, not bound)
    return f"http://{host}:{port}"


class DaemonClient:
    """
    Asks one daemon.

    Args:
        url: Scheme, host and port; a bare `host:port` means http.

    Raises:
        Refuse: It is not such a URL.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise Refuse(f"--url: expected http://HOST:PORT, found {url!r}")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._base = parts.path.rstrip("/")

    def status(self) -> Document:
        """Return the body of /readyz, ready or not."""
        return self._ask("GET", "/readyz", fine=(HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE))

    def listing(self, path: str, filters: Mapping[str, str], limit: int) -> Document:
        """
        Return up to `limit` items of a listing as one document, all of the same block.

        Raises:
            NoDaemon: Nothing listens there.
            Refuse: A filter is not what it must be.
        """
        for _ in range(TRIES - 1):
            try:
                return self._pages(path, filters, limit)
            except StaleCursor:
                continue
        return self._pages(path, filters, limit)

    def why(self, protocol: str, user: str) -> Document:
        """
        Return the explanation of one account.

        Raises:
            NoDaemon: Nothing listens there.
            Skip: There is no such account.
        """
        return self._ask("GET", f"/v1/positions/{quote(protocol, safe='')}/{user}/why")

    def rebuild(self, protocol: str | None, from_block: int | None) -> Document:
        """Ask for a rebuild and wait for its report, however long it takes."""
        wanted = {"protocol": protocol, "from_block": from_block}
        return self._ask("POST", "/v1/rebuild", body=wanted, seconds=None)

    def _pages(self, path: str, filters: Mapping[str, str], limit: int) -> Document:
        items: list[Document] = []
        cursor: dict[str, str] = {}
        while True:
            size = min(MOST_ITEMS, limit - len(items))
            query = urlencode({**filters, "limit": str(size), **cursor})
            page = self._ask("GET", f"{path}?{query}")
            items += page["items"]
            following = page["next_cursor"]
            if following is None or len(items) >= limit:
                return {"block": page["block"], "items": items, "next_cursor": following}
            cursor = {"cursor": following}

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Document | None = None,
        seconds: float | None = ANSWER_SECONDS,
        fine: tuple[int, ...] = (HTTPStatus.OK,),
    ) -> Document:
        connection = self._connected()
        try:
            connection.sock.settimeout(seconds)
            text = None if body is None else json.dumps(body)
            headers = {"Accept": "application/json"}
            if text is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, self._base + path, text, headers)
            response = connection.getresponse()
            document = _parsed(self.url, response.read())
        except TimeoutError:
            raise Unreachable(f"the daemon at {self.url} does not answer in {seconds} s") from None
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(f"the daemon at {self.url} broke off: {why}") from None
        finally:
            connection.close()
        if response.status in fine:
            return document
        raise _refusal(self.url, response.status, document)

    def _connected(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            raise NoDaemon(f"no daemon answers at {self.url} ({why})") from None
        return connection


def _parsed(url: str, body: bytes) -> Document:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Refuse(f"what answers at {url} is not a Chimera daemon")
    return document


def _refusal(url: str, status: int, document: Document) -> ChimeraError:
    error = document.get("error")
    if not isinstance(error, dict) or "message" not in error:
        return Refuse(f"what answers at {url} is not a Chimera daemon (status {status})")
    message = str(error["message"])
    match status:
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return Refuse(message)
        case HTTPStatus.NOT_FOUND:
            return Skip(message)
        case HTTPStatus.GONE:
            return StaleCursor(message)
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return Unreachable(f"the daemon at {url} cannot do it now: {message}")
        case _:
            return ChimeraError(f"the daemon at {url} answers {status}: {message}")
