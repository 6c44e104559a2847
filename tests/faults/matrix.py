"""The table of `make faults`: a publisher, a real mosquitto, and a fault in the middle of 20,000 messages.

    python -m faults.matrix [--messages 20000] [--protocol 3.1.1 --protocol 5] [--qos 1 ...] [--fault cut ...]

The faults, each three times while the window of unacknowledged messages is full:

- ``cut``: the link is cut; the broker is unharmed.
- ``kill``: the broker saves its database and is killed; started again, it has the session.
- ``lost``: the broker is killed and has no database; started again, it knows nothing of the session.
- ``flap``: the link is cut five times within half a second.

The window is 20, since mosquitto 2.0.11 drops QoS 2 messages above that, though it acknowledges them. What the broker
has acknowledged but not delivered dies with it: before a kill it is written to disk, or has arrived.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Broker, Observer, Proxy
from harness.wait import DeadlineError, wait_until
from miqro import mqtt

if TYPE_CHECKING:
    from collections.abc import Callable

TOPICS = 10
TIMES = 3
PATIENCE = 60.0
#: How long what the broker has taken may be on its way to the observer.
GRACE = 20.0
PROTOCOLS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


@dataclass
class Result:
    """What arrived of what was published."""

    messages: int
    missing: int
    duplicates: int
    order_breaks: int
    seconds: float = 0.0

    def good(self, qos: int, fault: str) -> bool:
        """Whether that is what was promised: a QoS 2 message may come twice only when the session was lost."""
        once = qos < 2 or fault == "lost" or self.duplicates == 0
        return self.missing == 0 and self.order_breaks == 0 and once


class Stage:
    """A broker, a way to it that can fail, a publisher on that way, and an observer that has its own."""

    def __init__(self, folder: Path, qos: int, fault: str, protocol: int, messages: int) -> None:
        self.qos, self.fault, self.messages = qos, fault, messages
        self.broker = Broker(folder, persistent=fault == "kill", autosave=False)
        self.broker.start()
        self.observer = Observer(self.broker.port, durable=True).start()
        self.proxy = Proxy(self.broker.port)
        self.client = mqtt.Client("publisher", clean_session=False, protocol=protocol)
        self.client.connect_async("127.0.0.1", self.proxy.port)
        self.client.max_queued_messages_set(messages + 1)
        self.client.reconnect_delay_set(0.05, 0.5)

    def close(self) -> None:
        """End everything."""
        self.client.loop_stop()
        self.proxy.close()
        self.observer.close()
        self.broker.kill()

    def run(self) -> Result:
        """Publish everything, fail three times, and count what arrived."""
        began = time.monotonic()
        self.client.loop_start()
        wait_until(self.client.is_connected, PATIENCE, "the publisher is connected")
        infos = [
            self.client.publish(f"faults/{number % TOPICS}", str(number), qos=self.qos)
            for number in range(self.messages)
        ]
        fail: Callable[[], None] = getattr(self, f"_{self.fault}")
        for time_ in range(1, TIMES + 1):
            share = self.messages * time_ // (TIMES + 1)
            self.observer.received.wait_for_count(share, PATIENCE, f"{share} messages")
            fail()
        for info in infos:
            info.wait_for_publish(PATIENCE)
        # At QoS 2 a message is there when the broker has sent its PUBREL: a barrier at QoS 1 would be there first.
        with suppress(DeadlineError):
            wait_until(lambda: not self._count().missing, GRACE, "everything has arrived")
        result = self._count()
        result.seconds = time.monotonic() - began
        return result

    def _count(self) -> Result:
        seen: set[int] = set()
        last = dict.fromkeys(range(TOPICS), -1)
        breaks = arrived = 0
        for message in self.observer.received.all():
            if not message.topic.startswith("faults/") or not message.payload:
                continue
            number = int(message.payload)
            arrived += 1
            if number in seen:
                continue
            seen.add(number)
            breaks += number < last[number % TOPICS]
            last[number % TOPICS] = number
        return Result(self.messages, self.messages - len(seen), arrived - len(seen), breaks)

    # ---- the faults ----------------------------------------------------------------------------------

    def _cut(self) -> None:
        self.proxy.cut()

    def _flap(self) -> None:
        for _ in range(5):
            connections = self.proxy.connections
            self.proxy.cut()
            self.proxy.wait_connections(connections + 1, PATIENCE)

    def _kill(self) -> None:
        # What is on its way stays in the window of the publisher.
        self.proxy.swallow()
        self.observer.barrier(PATIENCE, qos=2)
        self.broker.save()
        self._restart()

    def _lost(self) -> None:
        self.proxy.swallow()
        self.observer.barrier(PATIENCE, qos=2)
        self._restart()

    def _restart(self) -> None:
        self.proxy.refuse()
        self.broker.kill()
        wait_until(lambda: not self.observer.subscribed, PATIENCE, "the observer sees the broker go")
        self.broker.restart()
        self.observer.wait_subscribed(PATIENCE)
        self.proxy.resume()


FAULTS = ("cut", "kill", "lost", "flap")


def run(qos: int, fault: str, protocol: int, messages: int) -> Result:
    """One cell of the table."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), qos, fault, protocol, messages)
        try:
            return stage.run()
        finally:
            stage.close()


def main() -> None:
    """Print the table; the exit status says whether all of it is as promised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS)
    parser.add_argument("--qos", action="append", type=int, choices=(1, 2))
    parser.add_argument("--fault", action="append", choices=FAULTS)
    chosen = parser.parse_args()
    print(f"{chosen.messages} messages in each row")
    print(
        f"{'protocol':10}{'QoS':>4}  {'fault':6}{'missing':>9}{'duplicates':>12}{'order breaks':>14}{'s':>7}"
    )
    good = True
    for protocol in chosen.protocol or PROTOCOLS:
        for qos in chosen.qos or (1, 2):
            for fault in chosen.fault or FAULTS:
                row = run(qos, fault, PROTOCOLS[protocol], chosen.messages)
                fine = row.good(qos, fault)
                good = good and fine
                print(
                    f"{protocol:10}{qos:>4}  {fault:6}{row.missing:>9}{row.duplicates:>12}{row.order_breaks:>14}"
                    f"{row.seconds:>7.1f}{'' if fine else '   <-- not as promised'}",
                    flush=True,
                )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
