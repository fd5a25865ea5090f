"""An HTTP/1.1 server on loopback: each connection has a thread, and ends with the server."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from sandbox.emulator import HOST, free_port


class LoopbackHandler(BaseHTTPRequestHandler):
    """Handles the requests of one connection, which the server can end; it logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "LoopbackServer"  # pyright: ignore[reportIncompatibleVariableOverride] -- the one kind that uses this class

    def setup(self) -> None:
        """Begin the connection."""
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        """End the connection."""
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""


class LoopbackServer(ThreadingHTTPServer):
    """Serves on a thread of its own, from the end of the constructor on, until it is closed.

    Parameters
    ----------
    handler
        Handles the connections, each on a thread of its own.
    name
        The name of the server's thread.
    port
        The port on loopback. Default: a free port.

    Attributes
    ----------
    url
        The server's address, such as http://127.0.0.1:4566.
    connections
        The open connections.

    Raises
    ------
    sandbox.emulator.EmulatorError
        The port is taken.
    """

    request_queue_size = 128

    def __init__(self, handler: type[LoopbackHandler], name: str, port: int | None) -> None:
        super().__init__((HOST, free_port(port)), handler)
        self.connections = set[socket.socket]()
        self.port = self.server_port
        self.url: str = f"http://{HOST}:{self.port}"
        threading.Thread(target=self.serve_forever, args=[0.05], name=name, daemon=True).start()

    def close(self) -> None:
        """End all connections and stop. A second call does nothing."""
        self.shutdown()
        self.server_close()
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
