"""Who may call the studio: only pages that it served itself and that send its token.

A browser lets any web page send requests to 127.0.0.1. Such a page does not know the token and has
an `Origin` of its own; if it points a name of its own at 127.0.0.1 (DNS rebinding), the `Host` is that name. A request
with any of these signs is rejected.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple

TOKEN_HEADER = "x-studio-token"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors "
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every response: nothing from other hosts, no guessing of types, no caching. `frames` is appended."""


class Rules(NamedTuple):
    """Who may call.

    Attributes:
        token: value that a request to /api/ must have in the header `TOKEN_HEADER`; '': everybody may call.
        hosts: names, without port, by which the studio may be called; None: any, where it listens beyond this machine.
        frames: pages that may show the studio in a frame, as a Content-Security-Policy names them.
        is_proxied: a proxy may have replaced the Host, so that the Origin cannot be compared with it. The
            token still keeps other pages out: a browser lets none of them send its header.
    """

    token: str
    hosts: Collection[str] | None = LOOPBACK
    frames: str = "'self'"
    is_proxied: bool = False


class Guard:
    """ASGI middleware that rejects foreign requests, and adds `HEADERS` to every response.

    Attributes:
        app: the application behind the guard.
        rules: who may call.
        headers: added to every response.
    """

    def __init__(self, app: Any, rules: Rules):
        self.app, self.rules = app, rules
        policy = "content-security-policy"
        self.headers = {**HEADERS, policy: HEADERS[policy] + rules.frames}

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # no websockets
        given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if why := self.refusal(scope["path"], given):
            body = json.dumps({"error": why}).encode()
            head = {**self.headers, "content-type": "application/json", "content-length": str(len(body))}
            start = [(name.encode(), value.encode()) for name, value in head.items()]
            await send({"type": "http.response.start", "status": 403, "headers": start})
            return await send({"type": "http.response.body", "body": body})

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in self.headers.items() if n.encode() not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return await self.app(scope, receive, answer)

    def refusal(self, path: str, given: dict[str, str]) -> str:
        """Return why a request is rejected; '' if it is allowed."""
        rules, host = self.rules, given.get("host", "")
        if rules.hosts is not None and host_name(host) not in rules.hosts:
            return "this studio answers to 127.0.0.1 and localhost only"
        origin = given.get("origin")
        if origin is not None and not rules.is_proxied and origin.partition("://")[2] != host:
            return "this studio answers to its own page only"
        if path.startswith("/api/"):  # the page itself contains no secret, and links may lead to it
            if given.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return "this studio answers to its own page only"
            token = given.get(TOKEN_HEADER, "")
            if rules.token and not hmac.compare_digest(token.encode(), rules.token.encode()):
                return "the token is missing or wrong; open the address that the studio printed"
        return ""


def host_name(host: str) -> str:
    """Return the name or address of a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
