"""Who may ask the daemon to do something, as opposed to reading what it knows."""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import Request

from chimera.api.failures import Failure

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def operator_only(request: Request) -> None:
    """
    Let only a program on this machine pass.

    A proxy on this machine speaks for strangers, and so does a browser that shows a page from
    elsewhere: both are told by the headers that they always send.

    Raises:
        Failure: Somebody else asks (403).
    """
    peer = request.client.host if request.client else ""
    origin = request.headers.get("origin")
    if not _is_local(peer):
        raise _forbidden("only a program on the daemon's own machine may ask for this")
    if any(name in request.headers for name in FORWARDED):
        raise _forbidden("this cannot be asked through a proxy")
    if origin is not None and not _is_local(_host_of(origin)):
        raise _forbidden("this cannot be asked by a page of another site")


def _forbidden(message: str) -> Failure:
    return Failure(HTTPStatus.FORBIDDEN, "forbidden", message)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:  # a bracket left open
        return ""


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
