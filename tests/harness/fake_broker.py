"""A broker that follows a script: for packets that a real broker would never send."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from harness import packets
from harness.wait import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

TIMEOUT = 10.0


class Peer:
    """The broker's end of one connection.

    Args:
        stream: The connection.
    """

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        stream.settimeout(TIMEOUT)
        self.seen: list[packets.Packet] = []
        """Every packet read so far."""

    def read(self) -> packets.Packet | None:
        """Read one packet; ``None`` where the client has closed the connection.

        Raises:
            TimeoutError: The client sent nothing for :data:`TIMEOUT` seconds.
        """
        found = packets.read_packet(self.stream)
        if found is not None:
            self.seen.append(found)
        return found

    def expect(self, kind: int) -> packets.Packet:
        """Read one packet, which must be of this kind.

        Raises:
            AssertionError: It is of another kind, or the connection ended.
        """
        found = self.read()
        assert found is not None, f"the client closed the connection instead of sending {packets.NAMES[kind]}"
        assert found.kind == kind, f"got {found} instead of {packets.NAMES[kind]}"
        return found

    def skip_to(self, kind: int) -> packets.Packet:
        """Read until a packet of this kind comes, answering what must be answered on the way.

        Raises:
            AssertionError: The connection ended first.
        """
        while True:
            found = self.read()
            assert found is not None, f"the client closed the connection before it sent {packets.NAMES[kind]}"
            if found.kind == kind:
                return found
            self.answer(found)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.stream.sendall(data)

    def accept(self, code: int = 0, *, session_present: bool = False) -> packets.Packet:
        """Read the CONNECT, answer it, and return it."""
        request = self.expect(packets.CONNECT)
        self.send(packets.connack(code, session_present=session_present))
        return request

    def answer(self, request: packets.Packet) -> None:
        """Answer a packet as a well-behaved broker does."""
        if request.kind == packets.SUBSCRIBE:
            codes = bytes(qos for _, qos in request.filters)
            self.send(packets.ack(packets.SUBACK, request.mid, codes))
        elif request.kind == packets.UNSUBSCRIBE:
            self.send(packets.ack(packets.UNSUBACK, request.mid))
        elif request.kind == packets.PINGREQ:
            self.send(packets.packet(packets.PINGRESP))
        elif request.kind == packets.PUBLISH and request.qos:
            self.send(packets.ack(packets.PUBACK if request.qos == 1 else packets.PUBREC, request.mid))
        elif request.kind == packets.PUBREC:
            self.send(packets.ack(packets.PUBREL, request.mid))
        elif request.kind == packets.PUBREL:
            self.send(packets.ack(packets.PUBCOMP, request.mid))

    def serve(self) -> None:
        """Answer everything until the client goes."""
        while (request := self.read()) is not None and request.kind != packets.DISCONNECT:
            self.answer(request)

    def close(self) -> None:
        """Close the connection in an orderly way."""
        self.stream.close()


class FakeBroker:
    """Listens on a free port; the n-th connection is handled by the n-th script, further ones by the last.

    A script is a function of a :class:`Peer`; when it returns, the connection is closed. What it raises is
    raised again when the ``with`` ends, so that an ``assert`` in a script fails the test.

    Args:
        scripts: The scripts.
    """

    def __init__(self, *scripts: Callable[[Peer], None]) -> None:
        self._scripts = scripts
        self.peers: Log[Peer] = Log()
        """The connections so far."""
        self.finished: Log[int] = Log()
        """The numbers, from 1, of the scripts that have returned."""
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        acceptor = threading.Thread(target=self._accept, daemon=True)
        self._threads.append(acceptor)
        acceptor.start()

    def wait_finished(self, number: int, timeout: float = TIMEOUT) -> None:
        """Return when the script of connection ``number``, from 1, has returned.

        Raises:
            AssertionError: It, or another, has failed.
        """
        try:
            self.finished.wait_for(
                lambda found: found == number, timeout, f"script {number} of the fake broker ends"
            )
        finally:
            self._raise()

    def close(self) -> None:
        """End everything; raise what a script has raised."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers.all():
            with contextlib.suppress(OSError):
                peer.stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT)
        self._raise()

    def __enter__(self) -> Self:
        """Return itself: it works from its making on."""
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        """Close it; where the test has failed already, that failure is the one to be seen."""
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(BaseException):
                self.close()

    def _raise(self) -> None:
        if self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        number = 0
        while not self._closed:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            peer = Peer(stream)
            self.peers.append(peer)
            script = self._scripts[min(number, len(self._scripts)) - 1]
            thread = threading.Thread(target=self._run, args=(script, peer, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, script: Callable[[Peer], None], peer: Peer, number: int) -> None:
        try:
            script(peer)
        except BaseException as error:
            if not self._closed:
                self._errors.append(error)
        finally:
            peer.close()
            self.finished.append(number)
