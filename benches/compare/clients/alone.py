"""What miqro itself costs, ours or 1.3.0, without a broker: milliseconds or microseconds of CPU a call."""

from __future__ import annotations

import gc
import json
import logging
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from control import SPEC, say
from data import configuration, state

if TYPE_CHECKING:
    from collections.abc import Callable

TOPICS = [f"topic/{number:04}" for number in range(1000)]
DOCUMENT = {f"value{number}": number * 1.2345 for number in range(20)} | {
    "device": {"name": "lamp", "room": {"name": "kitchen", "floor": 1}, "on": True, "history": [1, 2.5, None]}
}


class Nothing:
    """An MQTT client that does nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def nothing(self, *arguments: Any, **options: Any) -> None:
        pass

    connect_async = disconnect = enable_logger = loop_start = loop_stop = publish = nothing
    subscribe = unsubscribe = tls_set = username_pw_set = will_set = nothing


def costs(work: Callable[[], object], calls: int = 1, repeats: int = 5) -> None:
    """Tell what a call costs at the median of some repeats, the first left out; `work` makes `calls` of them."""
    work()
    used, took = [], []
    for _ in range(repeats):
        gc.collect()
        wall, cpu = perf_counter(), process_time()
        work()
        used.append((process_time() - cpu) / calls)
        took.append((perf_counter() - wall) / calls)
    say(cpu=sorted(used)[repeats // 2], wall=sorted(took)[repeats // 2])


def of_the_service(what: str) -> None:
    import miqro

    class Bench(miqro.Service):
        SERVICE_NAME = "bench"

    if what == "config":
        Path("miqro.yml").write_text(configuration(), encoding="utf-8")
        Bench.SERVICE_NAME = "service_7"
        # Each makes a service: nothing is kept from the one before.
        costs(lambda: Bench(log_level="ERROR", mqtt_client_cls=Nothing), repeats=SPEC["repeats"])
        return
    Path("miqro.yml").write_text("broker: {host: 127.0.0.1}\nservices: {bench: {}}\n", encoding="utf-8")
    service = Bench(log_level="WARNING", mqtt_client_cls=Nothing)
    if what == "json":
        count = SPEC["count"]

        def work() -> None:
            for _ in range(count):
                service.publish_json("document", DOCUMENT)

        costs(work, count)
        return
    unless = True if what == "unchanged" else timedelta(hours=1)

    def unchanged() -> None:
        for topic in TOPICS:
            service.publish(topic, "unchanged", only_if_changed=unless)

    for _ in range(SPEC["repeats"]):
        unchanged()
    costs(unchanged, len(TOPICS), SPEC["repeats"])


def of_the_state(what: str) -> None:
    import miqro

    class Owner:
        SERVICE_NAME = "bench"
        log = logging.getLogger("bench")

        def note_failure(self, text: str) -> None:
            raise RuntimeError(text)

    logging.disable()
    miqro.State.DATA_ROOT = Path.cwd()
    kept: Any = miqro.State(Owner())  # type: ignore[arg-type]
    for key, value in state().items():
        kept[key] = value
    kept.save()
    costs(kept.save if what == "save" else lambda: miqro.State(Owner()), repeats=SPEC["repeats"])  # type: ignore[arg-type]


def bare(what: str) -> None:
    """The least that it can cost in Python."""
    if what == "json":
        count = SPEC["count"]

        def work() -> None:
            for _ in range(count):
                json.dumps(DOCUMENT)

        costs(work, count)
        return
    client = Nothing()

    def call() -> None:
        for topic in TOPICS:
            client.publish(topic)

    costs(call, len(TOPICS), SPEC["repeats"])


if SPEC.get("bare"):
    bare(SPEC["what"])
elif SPEC["what"] in {"save", "load"}:
    of_the_state(SPEC["what"])
else:
    of_the_service(SPEC["what"])
