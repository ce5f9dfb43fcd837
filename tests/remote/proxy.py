"""A line that can be cut: forwards bytes between a client and a server, until it is told not to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Listens on a port of its own and forwards to a server.

    Attributes:
        port: where it listens.
        cuts: how often lines were cut.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._lines: list[tuple[socket.socket, socket.socket]] = []
        self._allowance: int | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"grpc://localhost:{self.port}"

    def cut(self) -> None:
        """Close all lines now."""
        with self._lock:
            lines, self._lines = self._lines, []
            self.cuts += bool(lines)
            self._allowance = None
        for pair in lines:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def cut_after(self, count: int) -> None:
        """Close all lines when the server has sent so many more bytes: in the middle of a message."""
        with self._lock:
            self._allowance = count

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("localhost", self._server_port), timeout=5)
            except OSError:  # it is being started again
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._lines.append((client, server))
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, from_server: bool) -> None:
        try:
            while data := source.recv(65_536):
                allowed = self._allowed(len(data)) if from_server else len(data)
                sink.sendall(data[:allowed])
                if allowed < len(data):
                    self.cut()
        except OSError:
            pass
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        if from_server:  # this thread alone closes both
            source.close()
            sink.close()

    def _allowed(self, count: int) -> int:
        with self._lock:
            if self._allowance is None:
                return count
            allowed = min(count, self._allowance)
            self._allowance -= allowed
            return allowed


@contextlib.contextmanager
def proxy(server_port: int) -> Iterator[Proxy]:
    opened = Proxy(server_port)
    try:
        yield opened
    finally:
        opened.close()
