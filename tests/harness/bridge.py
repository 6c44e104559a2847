"""A WebSocket server before a broker's TCP port, by another implementation than the engine's."""

from __future__ import annotations

import contextlib
import socket
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    import ssl

    from typing_extensions import Self
    from websockets.http11 import Request, Response


class Bridge:
    """Takes binary frames at ``path`` and passes on what is in them, cut into small pieces on the way back.

    Args:
        target: The broker's port on 127.0.0.1.
        tls: Server side of TLS, for `wss`.
        path: Other paths are not found.
        piece: Bytes in a frame to the client, so that packets straddle frames.
        status: Answer every request with this status instead.
        headers: Headers of that answer.
        subprotocol: What it agrees to.
    """

    def __init__(
        self,
        target: int,
        *,
        tls: ssl.SSLContext | None = None,
        path: str = "/mqtt",
        piece: int = 7,
        status: HTTPStatus | None = None,
        headers: dict[str, str] | None = None,
        subprotocol: str | None = "mqtt",
    ) -> None:
        self.target = target
        self.path = path
        self.piece = piece
        self.status = status
        self.headers = headers or {}
        self.frames_up: list[int] = []
        """The size of each frame that came from a client."""
        self.requests: list[Request] = []
        """What clients asked for."""
        self.closed: list[int | None] = []
        """The code with which each connection ended."""
        self.connections: list[ServerConnection] = []
        """The connections that were accepted."""
        self._server = serve(
            self._serve,
            "127.0.0.1",
            0,
            ssl=tls,
            subprotocols=None if subprotocol is None else [Subprotocol(subprotocol)],
            select_subprotocol=None if subprotocol == "mqtt" else lambda _connection, _offered: None,
            process_request=self._request,
            compression=None,
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return itself: it works from its making on."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End every connection, and end."""
        for connection in self.connections:
            with contextlib.suppress(OSError, ConnectionClosed):
                connection.close()
        self._server.shutdown()
        self._thread.join(10.0)

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        status = self.status or (HTTPStatus.NOT_FOUND if request.path != self.path else None)
        if status is None:
            return None
        response = connection.respond(status, "no\n")
        for name, value in self.headers.items():
            response.headers[name] = value
        return response

    def _serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        with socket.create_connection(("127.0.0.1", self.target), 5.0) as broker:
            broker.settimeout(None)
            for stream in (broker, connection.socket):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            downward = threading.Thread(target=self._down, args=(broker, connection), daemon=True)
            downward.start()
            with contextlib.suppress(OSError, ConnectionClosed):
                for frame in connection:
                    assert isinstance(frame, bytes)
                    self.frames_up.append(len(frame))
                    broker.sendall(frame)
            with contextlib.suppress(OSError):
                broker.shutdown(socket.SHUT_RDWR)
            downward.join(10.0)
        self.closed.append(connection.close_code)

    def _down(self, broker: socket.socket, connection: ServerConnection) -> None:
        with contextlib.suppress(OSError, ConnectionClosed):
            while chunk := broker.recv(1 << 16):
                for start in range(0, len(chunk), self.piece):
                    connection.send(chunk[start : start + self.piece])
        connection.close()
