"""`await service.publish(...)`: acknowledgements for asyncio, without a thread (contract C36)."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from ._native import PublishInfo, Wake


class _Acknowledgements:
    """What the tasks of one event loop wait for. All of them share one descriptor.

    It must not hold the loop: it would never be forgotten, and its descriptor stay open.
    """

    def __init__(self) -> None:
        self.wake = Wake()
        self.waiting: dict[asyncio.Future[None], PublishInfo] = {}

    async def wait(self, info: PublishInfo) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self.waiting:
            loop.add_reader(self.wake.fileno(), self.settle)
        self.waiting[future] = info
        info.watch(self.wake)
        try:
            await future
        finally:
            self.forget(future)

    def settle(self) -> None:
        self.wake.clear()
        for future, info in list(self.waiting.items()):
            try:
                if info.settled() and not future.done():
                    future.set_result(None)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the task that waits
                if not future.done():
                    future.set_exception(error)

    def forget(self, future: asyncio.Future[None]) -> None:
        self.waiting.pop(future, None)
        if not self.waiting:
            future.get_loop().remove_reader(self.wake.fileno())


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
            acknowledgements = _loops[loop] = _Acknowledgements()
        await acknowledgements.wait(info)
    return info
