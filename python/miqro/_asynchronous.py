"""The asynchronous half of `Service`. It imports asyncio only where it is used (contract C70, C71)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._messages import Messages, Received


class Asynchronous:
    """What a service offers to asyncio programs."""

    if TYPE_CHECKING:
        data_topic_prefix: str

    async def run_async(self) -> None:
        """As `run`, in an event loop of the application's: any number of services may run in one.

        Ends when `stop` is set. Signals are the application's affair. Cancelling it is a clean stop too: handlers
        and loops that go on have the time to end, and are cancelled then; `0` is published on the will topic,
        what is queued is sent, within two seconds in all.

        Raises:
            asyncio.CancelledError: It was cancelled, and has stopped.
            RuntimeError: The service is running already.
            InternalError: The engine has failed.
        """
        from ._running import run_async

        await run_async(self)  # type: ignore[arg-type]  # the service is made of this

    def messages(self, topic: str, *, global_: bool = False, max_messages: int = 1000) -> Messages:
        """Subscribes for as long as an `async with` lasts, which gives the messages to an `async for`.

            async with self.messages("sensor/#") as messages:
                async for message in messages:
                    print(message.topic, message.payload)

        Handlers of the same messages are called as well. The iteration ends when the service does.

        Args:
            topic: The end of a topic filter; with `global_` all of it.
            global_: Whether `topic` is a whole filter.
            max_messages: How many are kept for the `async for`; when there are more, the oldest are dropped, which
                is logged, and counted in `dropped`.

        Raises:
            ValueError: The filter is not valid, or `max_messages` is less than 1.
        """
        from ._messages import Messages

        return Messages(self, topic if global_ else self.data_topic_prefix + topic, max_messages)  # type: ignore[arg-type]  # as above

    async def wait_for(self, topic: str, timeout: float | None = None, *, global_: bool = False) -> Received:
        """Waits for the next message of a filter.

        Args:
            topic: As for `messages`.
            timeout: Seconds to wait at most; `None`: for ever.
            global_: As for `messages`.

        Raises:
            TimeoutError: No message has come.
            StoppedError: The service has stopped.
            ValueError: The filter is not valid.
        """
        from ._messages import next_of

        return await next_of(self.messages(topic, global_=global_), timeout)
