"""Round trip through a handler, beside a bare rumqttc echo, in turns on one broker.

    cargo build --release --example rumqttc_echo && maturin develop --release
    python benches/round_trip.py [--messages 2000] [--rounds 5]

A blocking socket sends a message and waits for its answer; the time between is one round trip. CPU is that of the
answering process, user and system.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import miqro

ROOT = Path(__file__).resolve().parent.parent
SERVICE = """
import miqro

class Echo(miqro.Service):
    SERVICE_NAME = "bench"
    @miqro.handle("ping")
    def ping(self, payload):
        self.publish("pong", payload)

Echo(log_level="WARNING").run()
"""


def text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def connected(port: int, deadline: float = 10.0) -> socket.socket:
    """A connection to the broker, which may still be starting."""
    end = time.monotonic() + deadline
    connection = socket.socket()
    while connection.connect_ex(("127.0.0.1", port)):
        if time.monotonic() > end:
            sys.exit(f"the broker does not answer on port {port}")
        time.sleep(0.01)
    return connection


class Driver:
    """A client with just enough MQTT 3.1.1: packets under 128 bytes, QoS 0."""

    def __init__(self, port: int, prefix: str) -> None:
        self.socket = connected(port)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = b""
        self.send(0x10, text("MQTT") + b"\x04\x02\x00\x00" + text("bench-driver"))
        self.packet(0x20)
        self.send(0x82, b"\x00\x01" + text(f"{prefix}/pong") + b"\x00")
        self.packet(0x90)
        self.ping = text(f"{prefix}/ping")
        self.until_answered()

    def send(self, kind: int, body: bytes) -> None:
        self.socket.sendall(bytes([kind, len(body)]) + body)

    def packet(self, kind: int) -> bytes:
        while True:
            while len(self.input) < 2 or len(self.input) < 2 + self.input[1]:
                self.input += self.socket.recv(4096)
            end = 2 + self.input[1]
            packet, self.input = self.input[:end], self.input[end:]
            if packet[0] & 0xF0 == kind & 0xF0:
                return packet

    def wait_for(self, ending: bytes) -> None:
        while not self.packet(0x30).endswith(ending):
            pass

    def until_answered(self, deadline: float = 20.0) -> None:
        """Wait until the other side is there: a ping before it has subscribed has no answer."""
        end = time.monotonic() + deadline
        self.socket.settimeout(0.1)
        while True:
            try:
                self.round_trip(0)
                break
            except TimeoutError:
                if time.monotonic() > end:
                    raise
        # An answer to an earlier ping may still come; its number is not one that is waited for later.
        self.socket.settimeout(deadline)

    def round_trip(self, number: int) -> float:
        payload = f"{number:013}".encode()
        started = time.perf_counter()
        self.send(0x30, self.ping + payload)
        self.wait_for(payload)
        return time.perf_counter() - started


def cpu_of(pid: int) -> float:
    """Seconds on a processor so far, of all threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def measure(
    command: list[str], port: int, prefix: str, messages: int, folder: str
) -> tuple[float, float, float]:
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            driver = Driver(port, prefix)
            for number in range(1, 200):
                driver.round_trip(number)
            before = cpu_of(process.pid)
            times = sorted(driver.round_trip(1000 + number) for number in range(messages))
            used = cpu_of(process.pid) - before
            driver.socket.close()
        finally:
            process.terminate()
    return times[messages // 2] * 1e6, times[messages * 99 // 100] * 1e6, used / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if miqro._native.DEBUG_BUILD:
        sys.exit("this is a debug build of miqro: build it with `maturin develop --release`")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    native = target / "release" / "examples" / "rumqttc_echo"
    if not native.exists():
        sys.exit(f"{native} is missing: run `cargo build --release --example rumqttc_echo`")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        configuration = Path(folder, "mosquitto.conf")
        configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        Path(folder, "miqro.yml").write_text(
            f"broker: {{host: 127.0.0.1, port: {port}}}\nservices: {{bench: {{}}}}\n"
        )
        Path(folder, "echo.py").write_text(SERVICE)
        path = f"{os.environ['PATH']}:/usr/sbin"
        with subprocess.Popen(
            ["mosquitto", "-c", str(configuration)],
            env={**os.environ, "PATH": path},
            stderr=subprocess.DEVNULL,
        ) as broker:
            results: dict[str, list[tuple[float, float, float]]] = {"miqro": [], "rumqttc": []}
            try:
                for _ in range(arguments.rounds):
                    for name, command, prefix in (
                        ("miqro", [sys.executable, "echo.py"], "service/bench"),
                        ("rumqttc", [str(native), str(port), "native"], "native"),
                    ):
                        results[name].append(measure(command, port, prefix, arguments.messages, folder))
            finally:
                broker.terminate()
    print(f"{arguments.messages} round trips, median of {arguments.rounds} rounds in turns (min-max), µs")
    print(f"{'':10}{'p50':>22}{'p99':>24}{'CPU a message':>24}")
    for name, rows in results.items():
        columns = [
            f"{statistics.median(column):.1f} ({min(column):.1f}-{max(column):.1f})"
            for column in zip(*rows, strict=True)
        ]
        print(f"{name:10}{columns[0]:>22}{columns[1]:>24}{columns[2]:>24}")
    ratio = statistics.median(row[0] for row in results["miqro"]) / statistics.median(
        row[0] for row in results["rumqttc"]
    )
    print(f"p50, miqro by rumqttc: {ratio:.2f}")


if __name__ == "__main__":
    main()
