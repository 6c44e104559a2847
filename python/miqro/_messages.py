"""Ad-hoc subscriptions: `messages()` and `wait_for()` of a service."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import NamedTuple

from . import _connection, mqtt
from ._errors import StoppedError
from ._native import Router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from ._service import Service


class Received(NamedTuple):
    """A message that `messages()` or `wait_for()` gives."""

    #: Its topic, all of it.
    topic: str
    #: Its payload as text, as handlers get it (contract C14).
    payload: str


class Messages:
    """See `Service.messages`."""

    #: How many messages were dropped because the `async for` was too slow.
    dropped: int = 0

    def __init__(self, service: Service, topic_filter: str, max_messages: int) -> None:
        if max_messages < 1:
            raise ValueError(
                f"max_messages is the number of messages to keep, from 1 on, not {max_messages!r}"
            )
        # It says what is wrong with it.
        Router().add(topic_filter, False)
        self.filter = topic_filter
        self._service = service
        self._max = max_messages
        self._buffer: deque[Received] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._id = -1
        #: Whether it has begun; whether nothing will come any more.
        self._open = self._ended = False
        #: Whether the other thread has been told to look.
        self._waking = False

    async def __aenter__(self) -> Self:
        if self._open:
            raise RuntimeError(
                f"the messages of {self.filter!r} are subscribed to already: make others with messages()"
            )
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._open = True
        self._ended = self._service._miqro_dispatcher.leaving
        self._id = self._service._miqro_dispatcher.need_streams().add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._service._miqro_dispatcher.need_streams().remove(self._id)

    def __aiter__(self) -> Self:
        if not self._open:
            raise RuntimeError(
                f"the messages of {self.filter!r} are subscribed to by `async with` only: put it around the `async for`"
            )
        return self

    async def __anext__(self) -> Received:
        """The next message.

        Raises:
            StopAsyncIteration: The service has stopped.
        """
        message = await self._next(None)
        if message is None:
            raise StopAsyncIteration
        return message

    async def _next(self, timeout: float | None) -> Received | None:
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while not self._buffer:
            if self._ended:
                return None
            if deadline is not None and loop.time() >= deadline:
                raise TimeoutError(f"no message on {self.filter!r} has come within {timeout:g} s")
            if self._waiter is not None:
                raise RuntimeError(
                    f"two tasks wait for the same messages of {self.filter!r}: let each have messages() of its own"
                )
            waiter = self._waiter = loop.create_future()
            timer = None if deadline is None else loop.call_at(deadline, self._wake_here)
            try:
                # Another thread may have put something there meanwhile.
                if not self._buffer and not self._ended:
                    await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return self._buffer.popleft()

    def put(self, message: Received) -> None:
        """Keeps a message, on the service's thread."""
        if len(self._buffer) >= self._max:
            try:
                self._buffer.popleft()
            except IndexError:
                # The other thread has just taken it.
                pass
            else:
                self._note_drop()
        self._buffer.append(message)
        self._wake()

    def end(self) -> None:
        """No message will come any more."""
        self._ended = True
        self._wake()

    def _note_drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            text = (
                f"more than {self._max} messages of {self.filter!r} wait for an `async for`, which is too slow: the "
                "oldest are dropped"
            )
            self._service.log.warning("%s", text)
            self._service.note_failure(text)

    def _wake(self) -> None:
        if self._waiter is None or self._loop is None:
            return
        if threading.get_ident() == self._thread:
            self._wake_here()
        elif not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._wake_here)
            except RuntimeError:
                # The loop was closed without the end of the `async with`: nobody will take anything.
                self._waking = False

    def _wake_here(self) -> None:
        self._waking = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Streams:
    """Who listens with `messages()`, and what the service is subscribed to for that."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._router = Router()
        self._listening: dict[int, Messages] = {}

    def filters(self, besides: Iterable[str]) -> list[str]:
        """What to subscribe to, each once, besides what somebody else is subscribed to."""
        others = set(besides)
        wanted = dict.fromkeys(messages.filter for messages in self._listening.values())
        return [topic_filter for topic_filter in wanted if topic_filter not in others]

    def add(self, messages: Messages) -> int:
        """Listens; the number is for `remove`."""
        service = self._service
        subscribed = self._is_subscribed(messages.filter)
        number = self._router.add(messages.filter, False)
        self._listening[number] = messages
        if service.is_connected and not subscribed:
            _connection.subscribe(service, service.mqtt_client, [messages.filter])
        return number

    def remove(self, number: int) -> None:
        """Listens no more."""
        messages = self._listening.pop(number)
        self._router.remove(number)
        client = self._service.mqtt_client
        if not self._is_subscribed(messages.filter) and hasattr(client, "unsubscribe"):
            closed = isinstance(client, mqtt.Client) and client._session is None
            if not closed:
                client.unsubscribe(messages.filter)

    def put(self, topic: str, text: str) -> bool:
        """Hands a message to those who listen; whether anybody does."""
        found = self._router.route(topic)
        for number, _ in found:
            messages = self._listening.get(number)
            if messages is not None:
                messages.put(Received(topic, text))
        return bool(found)

    def end(self) -> None:
        """The service stops."""
        for messages in list(self._listening.values()):
            messages.end()

    def _is_subscribed(self, topic_filter: str) -> bool:
        """Whether something else of the service has this filter."""
        dispatcher = self._service._miqro_dispatcher
        others = [messages.filter for messages in self._listening.values()]
        others += [other for other, _ in self._service._all_handlers()]
        return topic_filter in others or topic_filter == dispatcher.birth.topic


async def next_of(messages: Messages, timeout: float | None) -> Received:
    """See `Service.wait_for`."""
    async with messages:
        message = await messages._next(timeout)
    if message is None:
        raise StoppedError(f"the service has stopped: no message on {messages.filter!r} will come")
    return message
