"""MQTT 3.1.1 packets as bytes: just enough for a scripted broker and for asking a real one whether it is up.

Written from the specification and independent of the engine, so that a mistake there cannot hide here.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)

NAMES = (
    *("RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP"),
    *("SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"),
)


class Packet(NamedTuple):
    """One control packet: its type, the four flag bits, and all behind the length."""

    kind: int
    flags: int
    body: bytes

    @property
    def name(self) -> str:
        """The name of the type as the specification has it."""
        return NAMES[self.kind]

    @property
    def qos(self) -> int:
        """The quality of service of a PUBLISH."""
        return self.flags >> 1 & 3

    @property
    def topic(self) -> str:
        """The topic of a PUBLISH."""
        return self.body[2 : 2 + int.from_bytes(self.body[:2], "big")].decode()

    @property
    def mid(self) -> int:
        """The packet identifier of any packet that has one."""
        start = 2 + int.from_bytes(self.body[:2], "big") if self.kind == PUBLISH else 0
        return int.from_bytes(self.body[start : start + 2], "big")

    @property
    def payload(self) -> bytes:
        """The payload of a PUBLISH."""
        start = 2 + int.from_bytes(self.body[:2], "big")
        return self.body[start + 2 if self.qos else start :]

    @property
    def filters(self) -> list[tuple[str, int]]:
        """The filters of a SUBSCRIBE, each with the quality of service it asks for."""
        found, rest = [], self.body[2:]
        while rest:
            end = 2 + int.from_bytes(rest[:2], "big")
            found.append((rest[2:end].decode(), rest[end]))
            rest = rest[end + 1 :]
        return found


def text(value: str | bytes) -> bytes:
    """Return a string as MQTT writes it: length, then UTF-8."""
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """Return a whole packet."""
    length, remaining = bytearray(), len(body)
    while True:
        remaining, digit = divmod(remaining, 128)
        length.append(digit | (0x80 if remaining else 0))
        if not remaining:
            return bytes([kind << 4 | flags, *length]) + body


def connect(client_id: str, *, keepalive: int = 60) -> bytes:
    """Return a CONNECT with a clean session."""
    return packet(CONNECT, text("MQTT") + b"\x04\x02" + keepalive.to_bytes(2, "big") + text(client_id))


def connack(code: int = 0, *, session_present: bool = False) -> bytes:
    """Return a CONNACK."""
    return packet(CONNACK, bytes([session_present, code]))


def publish(topic: str | bytes, payload: bytes, *, qos: int = 0, mid: int = 1, retain: bool = False) -> bytes:
    """Return a PUBLISH. A topic given as bytes may be malformed UTF-8."""
    identifier = mid.to_bytes(2, "big") if qos else b""
    return packet(PUBLISH, text(topic) + identifier + payload, qos << 1 | retain)


def ack(kind: int, mid: int, extra: bytes = b"") -> bytes:
    """Return a packet that acknowledges ``mid``: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK."""
    return packet(kind, mid.to_bytes(2, "big") + extra, 2 if kind == PUBREL else 0)


def read_packet(stream: socket.socket) -> Packet | None:
    """Read one packet; ``None`` where the stream ends between packets."""
    head = _read(stream, 1)
    if not head:
        return None
    length, shift = 0, 0
    while True:
        digit = _read(stream, 1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            break
    return Packet(head[0] >> 4, head[0] & 15, _read(stream, length))


def _read(stream: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        chunk = stream.recv(count - len(found))
        if not chunk:
            if found or count > 1:
                message = f"the stream ended inside a packet, after {bytes(found)!r}"
                raise ConnectionError(message)
            return b""
        found += chunk
    return bytes(found)


def answers_connect(port: int, timeout: float) -> bool:
    """Return whether what listens on ``port`` of this machine answers a CONNECT, be it with a refusal."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as stream:
            stream.sendall(connect("harness-probe"))
            answer = read_packet(stream)
            stream.sendall(packet(DISCONNECT))
    except (OSError, IndexError):
        return False
    return answer is not None and answer.kind == CONNACK
