"""urllib3 connections that another thread can cut off."""

from __future__ import annotations

import socket
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Connections:
    """The connections of one transport, which has one exchange at a time. `opened` counts new ones."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = False
        self.aborted = False
        self._handle: socket.socket | None = None

    def adopt(self, connection: socket.socket) -> socket.socket:
        """Remember a new connection. A duplicate is kept, because TLS takes the original's descriptor away."""
        self._forget()
        self.opened += 1
        self.closed = False
        self._handle = connection.dup()
        return connection

    def settle(self) -> None:
        """After an exchange: when urllib3 has closed the connection close the duplicate too, or the other side would
        not notice. Not earlier: after `Connection: close` it closes before the body is read."""
        if self.closed:
            self._forget()

    def _forget(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def abort(self) -> None:
        """End the connection now. For any thread; the one that reads sees an error or, just as well, the end."""
        self.aborted = True
        handle = self._handle
        if handle is None:
            return
        try:
            handle.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it ended by itself

    def pools(self) -> dict[str, Any]:
        """Pool classes by scheme, for a PoolManager. `_new_conn` has been urllib3's place for this since 1.x."""
        connections = self

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connections.adopt(super()._new_conn())

            def close(self) -> None:
                connections.closed = True
                super().close()

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connections.adopt(super()._new_conn())

            def close(self) -> None:
                connections.closed = True
                super().close()

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        return {"http": PlainPool, "https": SecurePool}
