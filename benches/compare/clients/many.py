"""Several services in one process, each on a thread of its own or all in one event loop."""

from __future__ import annotations

import threading
from typing import Any

from control import SPEC, Counter, obey

import miqro


def made(name: str) -> Any:
    counter = Counter()

    def count(self: miqro.Service, payload: str) -> None:
        counter.count()

    members = {"SERVICE_NAME": name, "SUBSCRIBE_QOS": 0, "count": miqro.handle("in/00000")(count)}
    return type(name, (miqro.Service,), members)(log_level="WARNING")


obey()
everybody = [made(name) for name in SPEC["names"]]
if SPEC["how"] == "asyncio":
    # Memory is measured: services on threads do without it.
    import asyncio

    async def all_of(services: list[Any]) -> None:
        await asyncio.gather(*(service.run_async() for service in services))

    asyncio.run(all_of(everybody))
else:
    threads = [threading.Thread(target=service.run) for service in everybody]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
