"""TLS files of a destination: verification is always on, at least TLS 1.2, and a changed file counts at once."""

from __future__ import annotations

import os
import ssl
from importlib.metadata import version

from otel_agent.hub.export.destination import Destination

_URLLIB3 = version("urllib3")

Fingerprint = tuple[tuple[int, int, int] | None, ...]


def fingerprint(destination: Destination) -> Fingerprint:
    """Changes when one of the destination's files does."""
    files = (destination.certificate, destination.client_certificate, destination.client_key)
    return tuple(_stat(path) if path else None for path in files)


def context(destination: Destination) -> ssl.SSLContext:
    """The context for HTTPS. Raises OSError (ssl.SSLError) when a file cannot be used."""
    made = ssl.create_default_context(cafile=destination.certificate or None)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if _URLLIB3.startswith("1."):
        # urllib3 1.26 passes no name for addresses, which ssl refuses then; it compares names and addresses itself.
        made.check_hostname = False
    if destination.client_certificate:
        made.load_cert_chain(destination.client_certificate, destination.client_key or None)
    return made


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
