"""The far side of the broker, on bare sockets: it has two processors to share with the client and the broker."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING

from compare.setup import BenchError
from harness import packets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

#: Far more than any step takes.
DEADLINE = 120.0
#: What the counter reads at once. It is not woken for less, unless that is all that is missing.
CHUNK = 1 << 16
PREFIX = "service/bench"
PAYLOAD = b"hello, world!"

_names = itertools.count()


class Peer:
    """A connection to the broker; it sends at once what it sends."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(packets.connect(f"bench-peer-{next(_names)}", keepalive=0))
        self._expect(packets.CONNACK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def subscribe(self, topic: str) -> None:
        body = b"\x00\x01" + packets.text(topic) + b"\x00"
        self.socket.sendall(packets.packet(packets.SUBSCRIBE, body, 2))
        self._expect(packets.SUBACK)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.socket.sendall(packets.publish(topic, payload, retain=retain))

    def message(self) -> packets.Packet:
        """The next message that comes."""
        return self._expect(packets.PUBLISH)

    def _expect(self, kind: int) -> packets.Packet:
        while True:
            packet = packets.read_packet(self.socket)
            if packet is None:
                raise BenchError("the broker has closed the connection")
            if packet.kind == kind:
                return packet


def retain(port: int, topic: str, payload: bytes) -> None:
    """Have the broker keep a message, for whoever subscribes later; none if the payload is empty."""
    with Peer(port) as peer:
        peer.publish(topic, payload, retain=True)
        # The answer to this shows that the broker has handled what came before.
        peer.subscribe("nothing")


class Counter(Peer):
    """Counts messages by their bytes: all have to be of one size.

    Args:
        port: The broker's.
        topic: The filter to subscribe to.
        size: Bytes in the packet of one message at QoS 0.
    """

    def __init__(self, port: int, topic: str, size: int) -> None:
        super().__init__(port)
        self._size = size
        self.subscribe(topic)

    def wait_for(self, count: int) -> None:
        """Return when so many messages have come.

        Raises:
            BenchError: They have not; the text says how many are missing.
        """
        missing = count * self._size
        while missing:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(CHUNK, missing))
            try:
                chunk = self.socket.recv(min(CHUNK, missing))
            except TimeoutError:
                missing -= self._left()
                raise BenchError(f"{-(-missing // self._size)} of {count} messages did not come") from None
            if not chunk:
                raise BenchError("the broker has closed the connection")
            missing -= len(chunk)

    def _left(self) -> int:
        """Bytes that are there, but fewer than it was to be woken for."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self.socket.setblocking(False)
        try:
            return len(self.socket.recv(CHUNK))
        except BlockingIOError:
            return 0


def flood(port: int, topics: Sequence[str], payload: bytes, count: int, qos: int) -> None:
    """Publish as fast as the broker takes it, to each topic in turn; `count` is 65,535 at most for QoS 1."""
    mids = range(1, count + 1) if qos else itertools.repeat(1, count)
    stream = b"".join(
        packets.publish(topic, payload, qos=qos, mid=mid)
        for topic, mid in zip(itertools.cycle(topics), mids, strict=False)
    )
    with Peer(port) as peer:
        acknowledged = threading.Thread(target=_read_to_the_end, args=(peer.socket,))
        acknowledged.start()
        peer.socket.sendall(stream)
        peer.socket.sendall(packets.packet(packets.DISCONNECT))
        acknowledged.join(DEADLINE)


def _read_to_the_end(stream: socket.socket) -> None:
    while stream.recv(CHUNK):
        pass


class Driver(Peer):
    """Sends a ping and waits for what is answered."""

    def __init__(self, port: int, answers: int = 1) -> None:
        super().__init__(port)
        self._answers = answers
        self._numbers = itertools.count(1)
        self._input = b""
        self.subscribe(f"{PREFIX}/pong")
        self._until_answered()

    def round_trip(self) -> float:
        """Seconds from a ping to the last of its answers."""
        payload = f"{next(self._numbers):013}".encode()
        ping = packets.publish(f"{PREFIX}/ping", payload)
        missing = self._answers
        began = time.perf_counter()
        self.socket.sendall(ping)
        while missing:
            # An answer to a ping before this one does not count.
            if self._small_packet().endswith(payload):
                missing -= 1
        return time.perf_counter() - began

    def _small_packet(self) -> bytes:
        """The next packet, of less than 130 bytes, with as few reads as it takes."""
        while len(self._input) < 2 or len(self._input) < 2 + self._input[1]:
            chunk = self.socket.recv(4096)
            if not chunk:
                raise BenchError("the broker has closed the connection")
            self._input += chunk
        end = 2 + self._input[1]
        packet, self._input = self._input[:end], self._input[end:]
        return packet

    def _until_answered(self) -> None:
        """A ping before the other side has subscribed has no answer."""
        end = time.monotonic() + 20.0
        self.socket.settimeout(0.1)
        while True:
            try:
                self.round_trip()
                break
            except TimeoutError:
                if time.monotonic() > end:
                    raise BenchError("a ping has no answer") from None
        self.socket.settimeout(DEADLINE)
