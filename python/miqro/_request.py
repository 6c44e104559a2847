"""Questions to other services, and their answers: response topic and correlation data of MQTT 5."""

from __future__ import annotations

import math
import secrets
import threading
from time import monotonic

from . import _connection
from ._errors import PublishError, RequestError, RequestTimeoutError
from ._native import payload_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator
    from typing import Any

    from typing_extensions import Self

    from ._native import Properties
    from ._service import Service


class Reply(str):
    """The answer to a request: its payload as handlers get payloads, a text.

    Attributes:
        payload: The payload as the bytes that it is.
        properties: What else the message says.
    """

    __slots__ = ("payload", "properties")

    payload: bytes
    properties: Properties | None

    @classmethod
    def of(cls, message: Any) -> Self:
        """Make it of a message."""
        reply = cls(payload_text(message.payload))
        reply.payload, reply.properties = message.payload, message.properties
        return reply


class Request:
    """A question that was asked. `await` it, or call `result()` on a thread that is not the service's."""

    def __init__(self, service: Service, topic: str, timeout: float) -> None:
        self.topic = topic
        self._service = service
        self._timeout = timeout
        self._deadline = monotonic() + timeout
        self._info: Any = None
        self._reply: Reply | None = None
        self._error: Exception | None = None
        self._settled = threading.Event()
        self._lock = threading.Lock()
        self._futures: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        state = "answered" if self._reply is not None else "failed" if self._error is not None else "open"
        return f"<miqro request on {self.topic!r}: {state}>"

    def done(self) -> bool:
        """Whether it is answered, or never will be."""
        return self._settled.is_set() or monotonic() >= self._deadline

    def result(self, timeout: float | None = None) -> Reply:
        """Waits for the answer, `timeout` seconds at most, and never longer than the request's own timeout.

        Raises:
            RequestTimeoutError: Nobody has answered in time.
            RequestError: It cannot be answered any more; or this is the service's own thread, which has to be
                free to receive the answer.
        """
        left = self._deadline - monotonic()
        if timeout is not None:
            left = min(left, timeout)
        if not self._settled.is_set() and self._service._miqro_dispatcher.thread == threading.get_ident():
            raise RequestError(
                f"the answer to the request on {self.topic!r} cannot be waited for on the service's own thread, which "
                "has to receive it: call result() on another thread, or await it"
            )
        self._settled.wait(max(left, 0.0))
        return self._get()

    def __await__(self) -> Generator[Any, None, Reply]:
        return self._wait().__await__()

    async def _wait(self) -> Reply:
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._lock:
            if not self._settled.is_set():
                self._futures.append(future)
        if not self._settled.is_set():
            timer = loop.call_later(max(self._deadline - monotonic(), 0.0), _wake, future)
            try:
                await future
            finally:
                timer.cancel()
        return self._get()

    def _get(self) -> Reply:
        if self._reply is not None:
            return self._reply
        if self._error is None:
            self._fail(self._too_late())
        assert self._error is not None  # noqa: S101 - set above, or by another thread
        raise self._error

    def _too_late(self) -> Exception:
        text = f"nobody has answered the request on {self.topic!r} within {self._timeout:g} s"
        try:
            if (
                self._info is not None
                and hasattr(self._info, "is_published")
                and not self._info.is_published()
            ):
                self._info.wait_for_publish(0)
                text += ": it has not reached the broker"
        except PublishError as error:
            return RequestError(f"the request on {self.topic!r} did not reach anybody: {error}")
        return RequestTimeoutError(text)

    def _settle(self, reply: Reply | None, error: Exception | None) -> None:
        with self._lock:
            if self._settled.is_set():
                return
            self._reply, self._error = reply, error
            self._settled.set()
            futures, self._futures = self._futures, []
        for future in futures:
            loop = future.get_loop()
            # A loop that is closed has nobody who waits.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, future)

    def _fail(self, error: Exception) -> None:
        self._settle(None, error)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Requests:
    """The requests of one service that are not answered yet, and the topic on which answers come."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.topic = f"{service.data_topic_prefix}reply/{secrets.token_hex(8)}"
        self._open: dict[bytes, Request] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._subscribed = False

    def ask(self, topic: str, payload: object, timeout: float, qos: int) -> Request:
        """Publishes a question.

        Raises:
            RequestError: The session does not speak MQTT 5, or the message was not accepted.
        """
        service = self._service
        if not timeout > 0:
            raise ValueError(f"the timeout of a request must be over 0 s, not {timeout!r}")
        problem = _connection.no_properties(service.mqtt_client)
        if problem is not None:
            raise RequestError(f"the request on {topic!r} is not sent: {problem}")
        request = Request(service, topic, timeout)
        with self._lock:
            self._number += 1
            key = self._number.to_bytes(8, "big")
            now = monotonic()
            # Nobody has waited for these.
            for old in [key for key, one in self._open.items() if now > one._deadline]:
                self._open.pop(old)
            self._open[key] = request
            subscribe, self._subscribed = not self._subscribed, True
        if subscribe:
            # Before the question on the wire, and again on every connect.
            _connection.subscribe(service, service.mqtt_client, [self.topic])
        request._info = service.publish(
            topic,
            payload,
            qos=qos,
            global_=True,
            response_topic=self.topic,
            correlation_data=key,
            expiry=max(1, math.ceil(timeout)),
        )
        if getattr(request._info, "rc", 0) != 0:
            self._open.pop(key, None)
            raise RequestError(f"the request on {topic!r} is not sent: {service.last_failure}")
        return request

    def answered(self, message: Any) -> None:
        """A message has come on the topic of the answers."""
        properties = message.properties if message is not None else None
        key = properties.correlation_data if properties is not None else None
        request = self._open.pop(key, None) if key is not None else None
        if request is None or request.done():
            self._service.log.debug("an answer that nobody waits for (any more) has come; it is dropped")
            return
        request._settle(Reply.of(message), None)

    def fail(self, why: str) -> None:
        """No answer can come any more."""
        with self._lock:
            requests = list(self._open.values())
            self._open.clear()
        for request in requests:
            request._fail(RequestError(f"the request on {request.topic!r} will not be answered: {why}"))
