"""Millions of messages through a real broker: nothing missing, and memory that stays as it is.

    python -m faults.flood [--messages 10000000] [--qos 0]

One service publishes to itself through mosquitto, in turns of a hundred messages, and never gets more than ten
thousand ahead of what it has received. Each line is a tenth of the way.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import miqro
from harness import Broker

TURN = 100
AHEAD = 10_000


def resident() -> float:
    """Megabytes of this process that are in memory."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Flood(miqro.Service):
    """Publishes numbers, and expects them in order."""

    SERVICE_NAME = "flood"
    total = 0
    qos = 0
    sent = 0
    received = 0
    wrong = 0

    @miqro.loop(seconds=0)
    def send(self) -> bool:
        """Publish a turn's worth, unless enough is under way."""
        for _ in range(TURN):
            if self.sent == self.total or self.sent - self.received >= AHEAD:
                break
            self.publish("number", str(self.sent), qos=self.qos)
            self.sent += 1
        return self.sent < self.total

    @miqro.handle("number")
    def on_number(self, payload: str) -> None:
        """Count it."""
        self.wrong += int(payload) != self.received
        self.received += 1
        if self.received % (self.total // 10) == 0:
            self.report()
        self.stop = self.received == self.total

    def report(self) -> None:
        """Print where it stands."""
        seconds = time.monotonic() - self.began
        memory = resident()
        self.memory.append(memory)
        print(
            f"{self.received:>12} {self.wrong:>8} {memory:>8.1f} {self.received / seconds:>10.0f}", flush=True
        )


def main() -> None:
    """Print the table; the exit status says whether all came, in order, and memory stayed flat."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--qos", type=int, choices=(0, 1, 2), default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder, "broker"), quiet=True) as broker:
        config = Path(folder, "miqro.yml")
        config.write_text(f"broker: {{host: 127.0.0.1, port: {broker.port}}}\nservices: {{flood: {{}}}}\n")
        service = Flood(add_config_file_path=config, log_level="WARNING")
        service.total, service.qos = chosen.messages, chosen.qos
        service.began, service.memory = time.monotonic(), []
        print(f"{'received':>12} {'wrong':>8} {'MB':>8} {'a second':>10}")
        service.run()
    growth = service.memory[-1] - service.memory[0]
    print(
        f"QoS {chosen.qos}: {service.wrong} out of place; {growth:+.1f} MB from the first tenth to the last"
    )
    sys.exit(0 if service.wrong == 0 and growth < 2.0 else 1)


if __name__ == "__main__":
    main()
