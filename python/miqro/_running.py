"""A service that runs on an event loop: its own, or an application's (contract C70, C71)."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic

from . import _connection, _state, mqtt
from ._dispatch import BATCH
from ._listen import Listener
from ._tasks import CANCEL_SECONDS, GRACE_SECONDS, close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._service import Service
    from ._signals import Signals

#: How long ordinary handlers may keep the event loop from others, in seconds, before it is others' turn.
SLICE_SECONDS = 0.005


class Pump:
    """Has the loops of a service called and its messages dispatched, in turns of the event loop.

    A turn is one callback. It comes when the engine has something, when a loop is due, or when there is room for
    messages again; else nothing runs.
    """

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self._service, self._loop = service, loop
        self._dispatcher = service._miqro_dispatcher
        self._tasks = self._dispatcher.need_tasks()
        self._over: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.Handle | None = None
        #: Whether the next turn is on its way.
        self._soon = False

    async def run(self) -> None:
        """Runs the service until `stop` is set.

        Raises:
            BaseException: What ends it otherwise: `InternalError`, or `SystemExit` of a handler.
        """
        service, tasks = self._service, self._tasks
        for name in ("_wait_for_work", "_loop_step"):
            if name in self._dispatcher.overrides:
                service.log.warning(
                    "%s.%s is not called: a service with `async def`s, or under run_async(), waits in an event loop",
                    type(service).__name__,
                    name,
                )
        tasks.on_end = self.end
        tasks.adopt(self._loop)
        listener = Listener(self._loop, service._miqro_wake, self._on_wake)
        try:
            self._turn()
            await self._over
        finally:
            listener.close()
            if self._timer is not None:
                self._timer.cancel()
            self._over.cancel()
            tasks.on_room = tasks.on_end = None
            self._dispatcher.end_streams()

    def end(self, error: BaseException | None = None) -> None:
        """Ends `run`, which raises `error` if there is one."""
        if not self._over.done():
            if error is None:
                self._over.set_result(None)
            else:
                self._over.set_exception(error)

    def _on_wake(self) -> None:
        self._service._miqro_wake.clear()
        self._turn()

    def _on_room(self) -> None:
        if not self._tasks.is_full():
            self._tasks.on_room = None
            self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._soon = False
        self._turn()

    def _turn(self) -> None:
        service, dispatcher = self._service, self._dispatcher
        if self._over.done() or self._soon:
            # In the latter case it follows at once.
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        dispatcher.looked()
        dispatcher.idle = False
        try:
            dispatcher.begin_turn()
            try:
                more = self._work()
            finally:
                # Not now: the tasks that were begun have their turn first, and what they publish goes with it.
                self._loop.call_soon(dispatcher.end_turn)
            due_in = service._miqro_due_in()
        except BaseException as error:  # noqa: BLE001 - it is raised by `run`
            self.end(error)
            return
        if service.stop:
            self.end()
        elif more:
            self._turn_soon()
        else:
            dispatcher.idle = self._tasks.on_room is None
            limit = service._miqro_poll_seconds()
            if limit is not None:
                due_in = limit if due_in is None else min(due_in, limit)
            if due_in is not None:
                self._timer = self._loop.call_later(max(due_in, 0.0), self._turn)

    def _work(self) -> bool:
        """Calls the loops that are due and dispatches some messages; whether more wait."""
        service = self._service
        if service._miqro_notifier is not None:
            service._miqro_notifier.give_sign()
        service._miqro_run_loops()
        if self._tasks.is_full():
            # The engine keeps what comes now, and when it has enough, the broker does.
            self._tasks.on_room = self._on_room
            return False
        if service.stop:
            return False
        return service._miqro_dispatch(monotonic() + SLICE_SECONDS, BATCH)


def run(service: Service, signals: Signals) -> None:
    """Runs the service on an event loop of its own; the farewell is left to the caller.

    Raises:
        RuntimeError: This thread runs an event loop already.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(
            f"{service} has `async def`s, and this thread runs an event loop already: write "
            "`await service.run_async()` instead of `service.run()`"
        )
    loop = asyncio.new_event_loop()
    pump = Pump(service, loop)

    async def program() -> None:
        try:
            await pump.run()
        finally:
            signals.grant(GRACE_SECONDS + CANCEL_SECONDS)
            await service._miqro_dispatcher.need_tasks().finish()

    signals.divert_interrupt(lambda: loop.call_soon_threadsafe(pump.end, KeyboardInterrupt()))
    try:
        loop.run_until_complete(program())
    finally:
        close(loop)


async def run_async(service: Service) -> None:
    """See `Service.run_async`."""
    dispatcher = service._miqro_dispatcher
    if dispatcher.thread is not None:
        raise RuntimeError(f"{service} is running already: it can be run once at a time")
    loop = asyncio.get_running_loop()
    dispatcher.thread = threading.get_ident()
    dispatcher.look_at_overrides()
    notifier = service._miqro_follow_systemd()
    cancelled = False
    try:
        service._miqro_begin()
        await Pump(service, loop).run()
    finally:
        dispatcher.leave()
        try:
            cancelled = await dispatcher.need_tasks().finish()
            service._miqro_notifier = None
            if notifier is not None:
                notifier.stopping()
            if service.STATE_AUTOSAVE is not None:
                _state.save_at_the_end(service)
            cancelled = await _farewell(service, loop) or cancelled
        finally:
            dispatcher.left()
    if cancelled:
        raise asyncio.CancelledError


async def _farewell(service: Service, loop: asyncio.AbstractEventLoop) -> bool:
    """The farewell to the broker, which takes up to a second: on a thread, for others use this event loop.

    Returns:
        Whether this task was cancelled meanwhile; it went on nevertheless.
    """
    client = service.mqtt_client
    try:
        _connection.say_goodbye(service)
    except BaseException:
        client.loop_stop()
        raise
    ours = isinstance(client, mqtt.Client)
    session = client._session if ours else None

    def hang_up() -> None:
        if session is not None:
            session.close(mqtt.FAREWELL_SECONDS)
        elif not ours:
            _connection.hang_up(client)

    cancelled = await _on_a_thread(hang_up, loop)
    if ours:
        # What is left of it calls the service, on this thread.
        _connection.hang_up(client)
    return cancelled


async def _on_a_thread(callback: Callable[[], None], loop: asyncio.AbstractEventLoop) -> bool:
    """Calls `callback` on a thread of its own, and waits for it, also when this task is cancelled meanwhile.

    An executor of the application's may be busy, or shut down already.
    """
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def body() -> None:
        error: BaseException | None = None
        try:
            callback()
        except BaseException as raised:  # noqa: BLE001 - it is raised where it is awaited
            error = raised
        loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=body, name="miqro-farewell", daemon=True).start()
    cancelled = False
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            cancelled = True
    done.result()
    return cancelled
