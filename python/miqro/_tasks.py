"""What of a service is `async def`, as tasks of an event loop (contract C20, C70)."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextvars import ContextVar
from time import monotonic
from types import CoroutineType
from weakref import finalize

from ._errors import StoppedError
from ._handlers import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from typing import Any

    from ._dispatch import Dispatcher
    from ._handlers import Handler, Target
    from ._loop import Loop
    from ._service import Service

#: How long handlers and loops may go on after a stop before they are cancelled, and after that, in seconds. With
#: the time for the farewell to the broker it makes the two seconds of contract C40.
GRACE_SECONDS, CANCEL_SECONDS = 0.7, 0.3
#: How long a step by hand waits for them at most, in seconds of real time.
STEP_SECONDS = 0.2
#: Messages that have been handed to tasks are bounded in number by `MAX_INCOMING_QUEUE`, and in characters by this.
MAX_CHARACTERS = 16 * 1024 * 1024
#: After this a task lets others have their turn, in seconds.
SLICE_SECONDS = 0.002


#: The message that a handler is called with, if it says more than its payload (MQTT 5).
_message: ContextVar[Any] = ContextVar("_message", default=None)


class Tasks:
    """The tasks of one service. They run on the event loop that runs the service.

    While none does, what is to be run waits for the next: for `run()`, `run_async()`, or a step by hand.
    """

    def __init__(self, service: Service, dispatcher: Dispatcher) -> None:
        self.service = service
        self.dispatcher = dispatcher
        #: Where tasks run, while something does.
        self.loop: asyncio.AbstractEventLoop | None = None
        #: Told of every message that has been handled, while somebody waits for room for others.
        self.on_room: Callable[[], None] | None = None
        #: Told of what ends the service: `SystemExit`, `KeyboardInterrupt`.
        self.on_end: Callable[[BaseException], None] | None = None
        #: Whether the service ends: no message and no loop is begun any more.
        self.ending = False
        #: Messages that were handed to lanes and are not handled yet, and their characters.
        self.messages = 0
        self.characters = 0
        self._live: set[asyncio.Task[None]] = set()
        #: What waits for an event loop.
        self._later: deque[tuple[Callable[[], Coroutine[Any, Any, None]], str, Callable[[], None]]] = deque()
        self._lanes: dict[str, list[Lane]] = {}
        #: For steps by hand, outside of any event loop.
        self._own: asyncio.AbstractEventLoop | None = None
        self._unhandled = Lane(self, self._finish_unhandled, False, 1)

    # ---- what is run ---------------------------------------------------------------------------------

    def lane(self, how: Target, topic_filter: str) -> Lane:
        """The lane of a handler: the one it has, if it has one, for messages may wait there."""
        fn, with_service = how
        concurrency = getattr(topic_filter, "concurrency", 1)
        lanes = self._lanes.setdefault(str(topic_filter), [])
        for lane in lanes:
            if lane.func == fn:
                lane.concurrency = concurrency
                return lane
        lanes.append(Lane(self, fn, with_service, concurrency))
        return lanes[-1]

    def keep_lanes(self, used: Iterable[Handler]) -> None:
        """Forgets the lanes that no handler has any more. What waits in one of them is handled nevertheless."""
        kept = set(map(id, used))
        self._lanes = {
            topic_filter: left
            for topic_filter, lanes in self._lanes.items()
            if (left := [lane for lane in lanes if id(lane) in kept])
        }

    def call_loop(self, loop: Loop) -> None:
        """Calls a loop whose function is to be awaited."""
        self.start(lambda: self._call_loop(loop), str(loop), loop._call_ended)

    async def _call_loop(self, loop: Loop) -> None:
        try:
            await loop._call(self.service)
        except asyncio.CancelledError as error:
            self.cancelled(f"{loop} was cancelled", error)
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            self.end(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on (C16)
            if not (self.ending and isinstance(error, StoppedError)):
                self.service._miqro_loop_failed(loop, error)

    def finish_unhandled(self, handled: Any, topic: str, text: str, expected: bool) -> None:
        """Awaits what `handle_message` gave, where that is an `async def`."""
        self.dispatcher.topic = topic
        self._unhandled(text, handled, expected)

    async def _finish_unhandled(self, text: str, handled: Any, expected: bool) -> None:
        if not await handled and not expected:
            self.dispatcher.nobody_handles(self._unhandled.topic)

    def current_message(self) -> Any:
        """What the handler that asks was called with, if it says more than its payload."""
        return _message.get()

    def start(
        self, make: Callable[[], Coroutine[Any, Any, None]], name: str, ended: Callable[[], None]
    ) -> None:
        """Runs what `make` makes, now or when there is an event loop; calls `ended` when that is over."""
        if self.loop is None:
            self._later.append((make, name, ended))
            return
        task = self.loop.create_task(make(), name=f"{self.service} {name}")
        self._live.add(task)

        def done(task: asyncio.Task[None]) -> None:
            # Not at the end of the coroutine: one that is cancelled early enough never begins.
            self._live.discard(task)
            ended()

        task.add_done_callback(done)

    def is_full(self) -> bool:
        """Whether so many messages are being handled that the broker has to keep the next ones."""
        return self.messages >= self.service.MAX_INCOMING_QUEUE or self.characters >= MAX_CHARACTERS

    async def let_others(self) -> None:
        """Others have their turn; what is published after it goes out together again."""
        await asyncio.sleep(0)
        self.cork()

    def cork(self) -> None:
        """What is published from now on, until the event loop has been round, goes out together."""
        if self.loop is not None:
            self.dispatcher.begin_turn()
            self.loop.call_soon(self.dispatcher.end_turn)

    def end(self, error: BaseException) -> None:
        """The service ends, because of `error`."""
        if self.on_end is not None:
            self.on_end(error)

    def failed(self, what: str, error: BaseException) -> None:
        """Logs and counts what a task has raised."""
        self.dispatcher._failed(what, error)

    def cancelled(self, what: str, error: BaseException) -> None:
        """Logs and counts that a task was cancelled, unless the service ends."""
        # A program that ends cancels all its tasks at once: the service learns of it in this round of the loop.
        asyncio.get_running_loop().call_soon(lambda: None if self.ending else self.failed(what, error))

    # ---- who runs it ---------------------------------------------------------------------------------

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """`loop` runs the service from now on."""
        self.ending = True
        if self._own is not None and loop is not self._own:
            self._own = None
            self._closer()
        self.loop = loop
        self.ending = False
        for _ in range(len(self._later)):
            self.start(*self._later.popleft())
        for lane in (self._unhandled, *(lane for lanes in self._lanes.values() for lane in lanes)):
            lane.resume()

    async def finish(self) -> bool:
        """Gives the tasks their time to end, then cancels them.

        Returns:
            Whether this task was cancelled meanwhile; it went on nevertheless.
        """
        self.ending = True
        cancelled = await self._wait(GRACE_SECONDS)
        for task in self._live:
            task.cancel()
        cancelled = await self._wait(CANCEL_SECONDS, patiently=True) or cancelled
        for task in self._live:
            self.service.log.error(
                "%s does not end although it was cancelled: it is left behind", task.get_name()
            )
        self.loop = None
        return cancelled

    async def _wait(self, seconds: float, patiently: bool = False) -> bool:
        deadline = monotonic() + seconds
        cancelled = False
        while self._live and (left := deadline - monotonic()) > 0:
            try:
                await asyncio.wait(self._live, timeout=left)
            except asyncio.CancelledError:
                cancelled = True
                if not patiently:
                    break
        return cancelled

    def by_hand(self, seconds: float) -> bool:
        """Runs the tasks until all of them are done, for so many seconds at most, and not for long.

        In an event loop of somebody else they run when that has its turn.

        Returns:
            Whether some are not done.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not None:
            self.adopt(running)
            self.loop = None
            return False
        if not self._live and not self._later:
            return False
        if self._own is None:
            self._own = asyncio.new_event_loop()
            self._closer = finalize(self.service, close, self._own)
        self.adopt(self._own)
        try:
            self._own.run_until_complete(self._wait(min(seconds, STEP_SECONDS)))
        finally:
            self.loop = None
        return bool(self._live)


class Lane:
    """The messages of one filter on their way through an `async def` handler, in order.

    Args:
        tasks: Those of the service.
        fn: The handler.
        with_service: Whether it is called with the service.
        concurrency: How many messages it may work on at once.
    """

    def __init__(self, tasks: Tasks, fn: Handler, with_service: bool, concurrency: int) -> None:
        self.func = fn
        self.concurrency = concurrency
        #: Of the message that was begun last.
        self.topic = ""
        self._tasks, self._dispatcher = tasks, tasks.dispatcher
        self._with_service = with_service
        self._waiting: deque[tuple[str, Any, tuple[Any, ...]]] = deque()
        self._workers = 0

    def __call__(self, *arguments: Any) -> None:
        """Has a message handled, after those before it: its text, and the rest of its topic."""
        tasks, dispatcher = self._tasks, self._dispatcher
        self._waiting.append((dispatcher.topic, dispatcher.message, arguments))
        tasks.messages += 1
        tasks.characters += len(arguments[0])
        if self._workers < self.concurrency:
            self._begin()

    def _begin(self) -> None:
        self._workers += 1
        self._tasks.start(self._work, name_of(self.func), self._ended)

    def _ended(self) -> None:
        self._workers -= 1
        self.resume()

    def resume(self) -> None:
        """Begins with what waits, unless the service ends: then the next run does."""
        while len(self._waiting) > self._workers < self.concurrency and not self._tasks.ending:
            self._begin()

    async def _work(self) -> None:
        """Handles what waits. One task for many messages: a task of its own costs more than a short handler."""
        tasks, waiting, fn = self._tasks, self._waiting, self.func
        with_service, service = self._with_service, tasks.service
        before = None
        others_at = monotonic() + SLICE_SECONDS
        while waiting and not tasks.ending:
            topic, message, arguments = waiting.popleft()
            self.topic = topic
            if message is not before:
                _message.set(message)
                before = message
            try:
                result = fn(service, *arguments) if with_service else fn(*arguments)
                # A wrapper may have nothing to wait for.
                if type(result) is CoroutineType or hasattr(result, "__await__"):
                    result = await result
                if result is not None and message is not None:
                    tasks.dispatcher.answer(message, result)
            except asyncio.CancelledError as error:
                tasks.cancelled(f"the handler {name_of(fn)} was cancelled at a message on {topic!r}", error)
                raise
            except (SystemExit, KeyboardInterrupt) as error:
                tasks.end(error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on (C16)
                if not (tasks.ending and isinstance(error, StoppedError)):
                    tasks.failed(f"the handler {name_of(fn)} failed for a message on {topic!r}", error)
            finally:
                tasks.messages -= 1
                tasks.characters -= len(arguments[0])
                if tasks.on_room is not None:
                    tasks.on_room()
            if monotonic() > others_at:
                await tasks.let_others()
                others_at = monotonic() + SLICE_SECONDS


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Ends an event loop and what is left on it."""
    if asyncio._get_running_loop() is not None:
        # This thread runs another one.
        closing = threading.Thread(target=close, args=(loop,), name="miqro-tasks")
        closing.start()
        closing.join()
        return
    if loop.is_closed():
        return
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=CANCEL_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
