"""Tests for requests that are the app's own: by host, by origin, and by the path that a proxy puts before the app."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import Any

PORTS = {"http": 80, "https": 443}
HEADERS = {  # of every answer; the atlas is a frame of the app's own page
    b"content-security-policy": b"frame-ancestors 'self'",
    b"x-frame-options": b"SAMEORIGIN",
    b"referrer-policy": b"same-origin",  # the address of a page is the key to what was uploaded there
}
REFUSED = "Another origin. Behind a proxy, start the app with --origin and the address that the browser shows."
MOST_TOLD = 10
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
Origin = tuple[str, str, int | None]  # scheme, host, port


def read_host(text: str) -> tuple[str, int | None] | None:
    """The name and the port of a Host header, or None for an invalid header; a name in brackets must be an address."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    name, port = found[1].lower(), int(found[2]) if found[2] else None
    if name.startswith("["):
        name = name[1:-1]
        try:
            IPv6Address(name)
        except AddressValueError:
            return None
    return None if port is not None and port > 65_535 else (name, port)


def read_origin(text: str) -> Origin | None:
    """Scheme, host and port of an Origin header, or None for an invalid header; without a port it is the scheme's."""
    found = _ORIGIN.fullmatch(text)
    host = read_host(found[2]) if found else None
    if found is None or host is None:
        return None
    scheme = found[1].lower()
    return scheme, host[0], PORTS.get(scheme) if host[1] is None else host[1]


class SameOrigin:
    """Refuses what pages of other origins ask for, and with `hosts` what was sent to any other name.

    `origins` are allowed beside the one that the Host header names, for proxies that change it. Requests to paths
    beside `base` are taken as below it, for proxies that cut it off. What isn't a host or an origin at all is a bad
    request. `say` is told of each origin that was refused: a proxy may have hidden the app's own.

    Streamlit is told the host that the browser sees: for another one it would allow this machine's public address, and
    ask another host for it.
    """

    def __init__(
        self,
        app: Any,
        hosts: tuple[str, ...] | None = None,
        origins: Iterable[str] = (),
        base: str = "",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.app, self.hosts, self.base, self.say = app, hosts, base, say
        self._refused: set[str] = set()
        self.origins = {read_origin(each) for each in origins}
        if hosts is not None:
            self.hosts = (*hosts, *(each[1] for each in self.origins if each))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it with 403, 400 or the code 1008 of websockets."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = [name for name, _ in scope["headers"]]
        headers = dict(scope["headers"])
        doubled = any(given.count(name) > 1 for name in (b"host", b"origin"))
        status = 400 if doubled else self.status(headers)
        if status == 403:
            self._tell(headers)
        if status == 200:
            await self.app(self._inside(scope, headers), receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            words = REFUSED.encode() if status == 403 else b"The Host or Origin header is malformed."
            plain = [(b"content-type", b"text/plain"), (b"content-length", str(len(words)).encode())]
            await _with_headers(send)({"type": "http.response.start", "status": status, "headers": plain})
            await send({"type": "http.response.body", "body": words})

    def status(self, headers: dict[bytes, bytes]) -> int:
        """200 for a request of the app's own page, 403 for any other page's, 400 for one that no browser sends."""
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        to, by = read_host(host), read_origin(origin)
        if to is None or (by is None and origin not in ("", "null")):
            return 400
        if self.hosts is not None and to[0] not in self.hosts:
            return 403
        if not origin or by in self.origins:
            return 200
        same = by is not None and by[0] in PORTS and by[1:] == (to[0], to[1] or PORTS[by[0]])
        return 200 if same else 403

    def _tell(self, headers: dict[bytes, bytes]) -> None:
        text = headers.get(b"origin", b"").decode("latin-1")
        if text not in self._refused and len(self._refused) < MOST_TOLD and read_origin(text):
            self._refused.add(text)
            self.say(f"A page of {text} was refused. If it is this app behind a proxy, start it with --origin {text}")

    def _inside(self, scope: Any, headers: dict[bytes, bytes]) -> Any:
        """The request as Streamlit is to see it."""
        changed = dict(scope)
        origin = headers.get(b"origin", b"")
        if origin not in (b"", b"null"):
            headers = headers | {b"host": origin.partition(b"://")[2]}
            changed["headers"] = [(name, headers.get(name, value) if name == b"host" else value)
                                  for name, value in scope["headers"]]  # fmt: skip
        path = scope["path"]
        if self.base and path != self.base and not path.startswith(self.base + "/"):
            changed["path"] = self.base + path
            changed["raw_path"] = self.base.encode() + scope.get("raw_path", path.encode())
        return changed


def _with_headers(send: Any) -> Any:
    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name, value) for name, value in HEADERS.items() if name not in own]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sent
