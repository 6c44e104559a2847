"""A TCP proxy between a client and a broker that does to a connection what networks do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from harness.wait import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self


class Proxy:
    """Listens on a free port and passes bytes on to ``target`` until it is told otherwise.

    Args:
        target: The port on 127.0.0.1 that it stands before.
        port: Where it listens; by default on a free port.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.delay = 0.0
        """Seconds that each chunk of bytes is held up, in each direction."""
        self.connections = 0
        """How many clients have connected so far."""
        self.segments_up = 0
        """How many chunks came from clients: at most as many as they made writes."""
        self.bytes_up = 0
        """How many bytes came from clients."""
        self.bytes_down = 0
        """How many bytes came from the broker."""
        self._swallowing = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def cut(self) -> None:
        """Break every connection, with a reset."""
        with self._lock:
            streams, self._open = self._open, set()
        for stream in streams:
            _reset(stream)

    def refuse(self) -> None:
        """Break every connection and every new one until :meth:`resume`."""
        self._refusing = True
        self.cut()

    def swallow(self) -> None:
        """Keep connections open but pass nothing on, either way: half-open, as behind a dead router."""
        self._swallowing = True

    def stall(self) -> None:
        """Read nothing any more, so that TCP pushes back."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass everything on again, without delay. What was swallowed stays lost."""
        self._swallowing = self._refusing = False
        self.delay = 0.0
        self._flowing.set()

    def reset_counters(self) -> None:
        """Count from zero again."""
        self.segments_up = self.bytes_up = self.bytes_down = 0

    def wait_connections(self, count: int, timeout: float = 10.0) -> None:
        """Return when ``count`` clients have connected since the start."""
        wait_until(lambda: self.connections >= count, timeout, f"{count} connections to the proxy")

    def close(self) -> None:
        """Break everything and end."""
        self._closed = True
        self._flowing.set()
        # A thread in accept() does not notice that its socket was closed.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10.0)

    def __enter__(self) -> Self:
        """Return itself: it works from its making on."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it."""
        self.close()

    def _spawn(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.target), 5.0)
            except OSError:
                self.connections += 1
                _reset(client)
                continue
            broker.settimeout(None)
            for stream in (client, broker):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                keep = not (self._refusing or self._closed)
                if keep:
                    self._open |= {client, broker}
                # Not before it can be cut: who waits for it may cut it at once.
                self.connections += 1
            if not keep:
                _reset(client)
                _reset(broker)
                continue
            self._spawn(self._pump, client, broker, True)
            self._spawn(self._pump, broker, client, False)

    def _pump(self, source: socket.socket, sink: socket.socket, upward: bool) -> None:
        while True:
            self._flowing.wait()
            try:
                chunk = source.recv(1 << 16)
            except OSError:
                chunk = b""
            if not chunk:
                break
            with self._lock:
                if upward:
                    self.segments_up += 1
                    self.bytes_up += len(chunk)
                else:
                    self.bytes_down += len(chunk)
            if self._swallowing:
                continue
            if self.delay:
                time.sleep(self.delay)
            try:
                sink.sendall(chunk)
            except OSError:
                break
        # The end of one side is the end of both, unless the proxy plays dead.
        if not self._swallowing:
            self._forget(source)
            self._forget(sink)

    def _forget(self, stream: socket.socket) -> None:
        with self._lock:
            known = stream in self._open
            self._open.discard(stream)
        if known:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()


def _reset(stream: socket.socket) -> None:
    # Zero seconds of lingering: the other side sees a reset instead of an orderly end.
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Wakes a thread in recv() on it, which close() does not.
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RD)
    stream.close()
