"""A server behind the forwarding server, which answers each request with a scripted text and records what it has read.

It speaks only the HTTP that the tests need: a request's body has a Content-Length.
"""

import socketserver
import threading
from typing import Any

from sandbox.emulator import HOST


class Upstream:
    """`answers` has the response by path, as raw HTTP; one that lacks its length ends the connection."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = {f"/{name}": answer for name, answer in answers.items()}
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.connections += 1
                while outer.serve(self.rfile, self.wfile):
                    pass

        self._server = socketserver.ThreadingTCPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def serve(self, reader: Any, writer: Any) -> bool:
        line = reader.readline()
        if not line:
            return False
        headers: dict[str, str] = {}
        while header := reader.readline().decode().strip():
            name, _, value = header.partition(": ")
            headers[name.lower()] = value
        body = reader.read(int(headers.get("content-length", 0)))
        self.received.append((line.decode().strip(), headers, body))
        answer = self.answers[line.decode().split()[1]]
        writer.write(answer)
        has_length = b"content-length" in answer.lower() or b"chunked" in answer.lower()
        return has_length and b"Connection: close" not in answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
