"""The address the hub listens on. Bound before anything heavy is loaded: early visitors wait in the kernel."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import ip_address

BACKLOG = 128
MAX_PORT = 65535


def listen(host: str, port: int, tries: int, say: Callable[[str], None]) -> socket.socket | None:
    """A listening socket on `port` or one of the next `tries` ports; None, said, when there is none."""
    last = min(port + tries, MAX_PORT) if port else 0
    for candidate in range(port, last + 1):
        try:
            made = _listen(host, candidate)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            reason = error.strerror or str(error)
            say(f"the metrics address {host}:{candidate} cannot be used ({reason}); there is no /metrics")
            return None
        if candidate != port:
            say(f"port {port} is busy, metrics are on {url(made)}/metrics")
        return made
    say(f"the ports {port} to {last} are busy; there is no /metrics (OTEL_EXPORTER_PROMETHEUS_PORT)")
    return None


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def url(listening: socket.socket) -> str:
    """The address for people; an unspecified one (0.0.0.0) is reached at loopback."""
    host, port = listening.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches the socket."""
    return ip_address(listening.getsockname()[0]).is_loopback
