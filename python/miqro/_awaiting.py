"""`await service.publish(...)`: acknowledgements for asyncio, without a thread (contract C36)."""

from __future__ import annotations

import asyncio
from itertools import count
from weakref import WeakKeyDictionary, finalize

from ._listen import Listener
from ._native import PublishInfo, Settled, Wake


class _Acknowledgements:
    """What the tasks of one event loop wait for. All of them share one descriptor.

    It must not hold the loop: it would never be forgotten, and its descriptor stay open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.wake = Wake()
        self.settled = Settled(self.wake)
        self.numbers = count()
        self.waiting: dict[int, tuple[asyncio.Future[None], PublishInfo]] = {}
        self.listener = Listener(loop, self.wake, self.settle)
        finalize(loop, self.listener.close).atexit = False

    async def wait(self, info: PublishInfo) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        number = next(self.numbers)
        self.waiting[number] = future, info
        info.watch(self.settled, number)
        if info.cork():
            # Others may publish as well before the event loop has been round: that goes out in one write.
            loop.call_soon(info.uncork)
        try:
            await future
        finally:
            del self.waiting[number]
            info.unwatch(self.settled, number)

    def settle(self) -> None:
        self.wake.clear()
        for number in self.settled.take():
            future, info = self.waiting.get(number, (None, None))
            if future is None or info is None or future.done():
                # Whoever waited has given up.
                continue
            try:
                info.settled()
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the task that waits
                future.set_exception(error)
            else:
                future.set_result(None)


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Acknowledgements] = WeakKeyDictionary()


async def published(info: PublishInfo) -> PublishInfo:
    """Waits until `info` is published.

    Raises:
        PublishError: The message was refused or dropped, or the session was closed first.
    """
    if not info.settled():
        loop = asyncio.get_running_loop()
        acknowledgements = _loops.get(loop)
        if acknowledgements is None:
            acknowledgements = _loops[loop] = _Acknowledgements(loop)
        await acknowledgements.wait(info)
    return info
