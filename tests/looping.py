"""Event loops for tests of asynchronous services: each has a deadline, and is in debug mode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from services import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import miqro

T = TypeVar("T")


class WithoutDescriptors(asyncio.SelectorEventLoop):
    """A loop that cannot watch descriptors for others, as Windows' `ProactorEventLoop` cannot."""

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:
        """Refuse, as the abstract base class does."""
        raise NotImplementedError

    def remove_reader(self, fd: Any) -> bool:
        """Refuse, as the abstract base class does."""
        raise NotImplementedError


#: What services run in, by name.
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
    "without descriptors": WithoutDescriptors,
}


def run(program: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run a program in a new loop, as `asyncio.run` does, and fail after `DEADLINE`."""
    made = LOOPS[loop]()
    made.set_debug(True)
    try:
        return made.run_until_complete(asyncio.wait_for(program, DEADLINE))
    finally:
        left = asyncio.all_tasks(made)
        for task in left:
            task.cancel()
        if left:
            made.run_until_complete(asyncio.wait(left, timeout=DEADLINE))
        made.run_until_complete(made.shutdown_asyncgens())
        made.close()


async def until(probe: Callable[[], Any], what: str = "what the test waits for") -> Any:
    """Return when `probe()` is true, with what it returned, while others have their turn."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE
    while not (found := probe()):
        assert loop.time() < deadline, f"within {DEADLINE} s this did not happen: {what}"
        await asyncio.sleep(0.002)
    return found


async def start(service: miqro.Service) -> asyncio.Task[None]:
    """Run a service on the engine; return its task when what is published to it arrives."""
    granted: list[object] = []
    service.mqtt_client.on_subscribe = lambda *_: granted.append(1)
    task = asyncio.create_task(service.run_async())
    await until(lambda: granted or task.done(), "the broker confirms the subscriptions")
    return task
