"""A service of miqro, ours or 1.3.0, that publishes, receives or answers."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

from control import GO, PAYLOAD, SPEC, Counter, obey, say

import miqro

QOS = SPEC.get("qos", 0)
counter = Counter()


def exact(self: miqro.Service, payload: str) -> None:
    counter.count()


def below(self: miqro.Service, payload: str, rest: str) -> None:
    counter.count()


def handlers() -> dict[str, Any]:
    """Half of them exact and half with a wildcard, if there is to be more than one; else one exact handler."""
    number, wild = SPEC.get("handlers", 1), SPEC.get("wild", 0)
    return {f"exact{index}": miqro.handle(f"in/{index:05}")(exact) for index in range(number - wild)} | {
        f"below{index}": miqro.handle(f"in/{index:05}/#")(below) for index in range(number - wild, number)
    }


def publish(self: miqro.Service) -> bool:
    """Runs until it is connected, publishes everything in one call, and never again."""
    if not self.is_connected:
        return True
    say(ready=True)
    GO.wait()
    send = self.publish
    topics = [f"out/{index:05}" for index in range(SPEC.get("topics", 1))]
    for topic in islice(cycle(topics), SPEC["count"]):
        send(topic, PAYLOAD, qos=QOS)
    return False


def echo(self: miqro.Service, payload: str) -> None:
    for _ in range(SPEC.get("answers", 1)):
        self.publish("pong", payload)


members: dict[str, dict[str, Any]] = {
    "publish": {"publish_all": miqro.loop(seconds=0.02)(publish)} if SPEC["what"] == "publish" else {},
    "receive": handlers() if SPEC["what"] == "receive" else {},
    "echo": {"echo": miqro.handle("ping")(echo)} if SPEC["what"] == "echo" else {},
}
Bench = type(
    "Bench",
    (miqro.Service,),
    {"SERVICE_NAME": SPEC.get("name", "bench"), "SUBSCRIBE_QOS": QOS, **members[SPEC["what"]]},
)
obey()
# Without a level, both log at DEBUG.
level = SPEC.get("level", "WARNING")
(Bench() if level is None else Bench(log_level=level)).run()
