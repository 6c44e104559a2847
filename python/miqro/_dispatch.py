"""From the queue to the handlers, on the service's thread (contract C13 to C18)."""

from __future__ import annotations

from _thread import get_ident
from time import monotonic

from . import _connection, mqtt
from ._birth import Birth
from ._clock import wall_now
from ._handlers import Routes, name_of, state_of
from ._native import Event, Message, payload_text
from ._properties import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    from ._handlers import Target
    from ._messages import Streams
    from ._native import Wake
    from ._request import Requests
    from ._service import Service
    from ._tasks import Tasks

    Routed = tuple[tuple[int, str | None], ...]

#: What a service may have its own of, and what is looked at each turn.
_HOOKS = ("_all_handlers", "_drain_incoming", "_loop_step", "_on_message", "_wait_for_work")
#: Messages that are fetched from the engine at a time.
BATCH = 256


class Dispatcher:
    """What waits for one service, and how it is handed to the handlers.

    Messages come from the engine, already routed, or from another client's thread through
    `Service._on_message`. Either way they are dispatched here, one after the other.
    """

    def __init__(self, service: Service, wake: Wake) -> None:
        # Here, and not above: `import miqro` does without the package `collections`.
        from collections import deque

        self._service = service
        self._wake = wake
        self.routes = Routes(self._lane)
        #: What is `async def`, once anything is; and who listens with `messages()`.
        self.tasks: Tasks | None = None
        self.streams: Streams | None = None
        #: Of the message that is dispatched, once there are tasks.
        self.topic = ""
        self.birth = Birth(service)
        #: What the routes were made of.
        self._routed: tuple[object, ...] = ()
        #: Set from any thread when a handler is added; the routes then follow before the next message.
        self.handlers_changed = True
        #: The routes that the messages of the batch were given.
        self._batch_version = 0
        #: Taken from the engine, not dispatched yet: events, messages, and (topic, text, routes).
        self._batch: deque[Any] = deque()
        #: From another client's thread: (when, topic, text, message), or (when, callback, arguments).
        self._queued: deque[tuple[Any, ...]] = deque()
        #: The message that is handled, while one is that says more than its payload (MQTT 5).
        self.message: Any = None
        #: Made with the first request.
        self.requests: Requests | None = None
        #: The thread that dispatches, while one does.
        self.thread: int | None = None
        #: Whether the service says goodbye: nothing is dispatched any more.
        self.leaving = False
        #: Whether the service sleeps because there was nothing to do.
        self.idle = False
        self._looked_at = monotonic()
        self._stall_reported = False
        #: Whether each message is logged. Asked once per batch.
        self._debug = False
        #: Messages lost to a full queue since the last one that found room.
        self._lost = 0
        #: What the service has its own of: see `look_at_overrides`.
        self.overrides: frozenset[str] = frozenset()
        self.look_at_overrides()

    # ---- what comes in from other clients' threads ---------------------------------------------------

    def put(self, topic: str, payload: bytes, message: Any = None) -> None:
        """Queues a message; `message` is it as a whole, if it says more than its payload.

        A full queue blocks another library's network thread, which keeps the broker from sending more.
        """
        service = self._service
        text = payload_text(payload)
        service.last_message_received_at = wall_now()
        self.stalled()
        limit = service.MAX_INCOMING_QUEUE
        if len(self._queued) >= limit and self.thread not in (None, get_ident()):
            deadline = monotonic() + service.INCOMING_STALL_WARN_SECONDS
            while len(self._queued) >= limit and monotonic() < deadline and not self.leaving:
                self._wake.notify()
                # Only a double or another library's client comes here, and only when 10,000 messages wait.
                _pause()
        if len(self._queued) >= limit:
            problem = f"the queue of {limit} incoming messages is full: a message on {topic!r} is lost"
            # Each is counted; the first one is news.
            service.log.log(10 if self._lost else 40, "%s", problem)
            self._lost += 1
            service.note_failure(problem)
            return
        if self._lost:
            service.log.warning("%d incoming messages were lost meanwhile: the queue was full", self._lost)
            self._lost = 0
        self._queued.append((monotonic(), topic, text, message))
        self._wake.notify()

    def call(self, callback: Callable[..., object], *args: object) -> None:
        """Calls `callback` on the service's thread: now, if this is it or there is none yet."""
        if self.thread in (None, get_ident()):
            callback(*args)
        else:
            self._queued.append((monotonic(), callback, args))
            self._wake.notify()

    def begin_turn(self) -> None:
        """The service begins to work: what it publishes goes out together."""
        session = self.session()
        if session is not None:
            session.cork()

    def end_turn(self) -> None:
        """The service has done its work: what it has published goes out."""
        session = self.session()
        if session is not None:
            session.uncork()

    def leave(self) -> None:
        """The service begins to say goodbye."""
        self.leaving = True
        self.end_streams()

    def end_streams(self) -> None:
        """What listens with `messages()` hears no more."""
        if self.streams is not None:
            self.streams.end()

    def left(self) -> None:
        """The service has said goodbye: calls the callbacks that came meanwhile. Messages wait for the next run."""
        for _ in range(len(self._queued)):
            item = self._queued.popleft()
            if callable(item[1]):
                self._guard(item[1], item[2])
            else:
                self._queued.append(item)
        if self.requests is not None:
            self.requests.fail("the service has stopped")
        self.leaving = False
        self.thread = None

    # ---- routes --------------------------------------------------------------------------------------

    def look_at_overrides(self) -> None:
        """Finds out what a subclass, or a test, has put in the place of methods. It holds until the next run."""
        self.overrides = frozenset(name for name in _HOOKS if overridden(self._service, name))

    def sync_routes(self) -> None:
        """Makes the router follow the lists of handlers. Cheap when nothing has changed.

        Only on the service's thread: others set `handlers_changed`.
        """
        service = self._service
        made_of = (
            service.data_topic_prefix,
            state_of(service.mqtt_handlers),
            state_of(service.mqtt_global_handlers),
        )
        if self.handlers_changed or made_of != self._routed or "_all_handlers" in self.overrides:
            self.handlers_changed = False
            self._routed = made_of
            of_class = (*service.CLASS_MQTT_GLOBAL_HANDLERS, *service.CLASS_MQTT_HANDLERS)
            self.routes.sync(service._all_handlers(), [fn for _, fn in of_class], self._unusable)
            if self.tasks is not None:
                self.tasks.keep_lanes(fn for fn, _ in self.routes.targets.values())

    def filters(self) -> list[str]:
        """What to subscribe to, each once."""
        filters: list[str] = list(dict.fromkeys(item for item, _ in self._service._all_handlers()))
        if self.streams is not None:
            filters += self.streams.filters(besides=filters)
        if self.requests is not None:
            filters.append(self.requests.topic)
        return filters + self._birth_filter()

    def subscribe_options(self) -> dict[str, int]:
        """What handlers say of how their filters are subscribed to (MQTT 5)."""
        service = self._service
        every = [(service.data_topic_prefix, item) for item, _ in service.mqtt_handlers]
        every += [("", item) for item, _ in service.mqtt_global_handlers]
        return {prefix + item: item.options for prefix, item in every if isinstance(item, Filter)}

    def _birth_filter(self) -> list[str]:
        topic = self.birth.listen()
        # Where a filter of the service's own covers it, brokers would send the message twice.
        return [] if topic is None or self.routes.router.route(topic) else [topic]

    def need_tasks(self) -> Tasks:
        """What runs the `async def`s of the service; from now on there is some."""
        if self.tasks is None:
            from ._tasks import Tasks

            self.tasks = Tasks(self._service, self)
            self.dispatch = self._dispatch_further  # type: ignore[method-assign]  # others have no need of it
            # Whoever sleeps on it has to leave that to the event loop.
            self._wake.notify()
        return self.tasks

    def need_streams(self) -> Streams:
        """Who listens with `messages()`; from now on somebody does."""
        if self.streams is None:
            from ._messages import Streams

            self.streams = Streams(self._service)
            self.dispatch = self._dispatch_further  # type: ignore[method-assign]  # as above
        return self.streams

    def _lane(self, how: Target, topic_filter: str) -> Target:
        return self.need_tasks().lane(how, topic_filter), False

    def _attend_to_birth(self) -> None:
        service, birth = self._service, self.birth
        if birth.topic is not None:
            if birth.timer.remaining() is not None:
                self._guard(birth.announce_if_due, ())
        elif (service.ha_devices or service.ha_entities) and service.is_connected:
            # The first device was made after the connect.
            self.sync_routes()
            _connection.subscribe(service, service.mqtt_client, self._birth_filter())

    def _unusable(self, text: str) -> None:
        self._service.log.error("%s", text)
        self._service.note_failure(text)

    # ---- dispatch ------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """Messages and events that wait."""
        session = self.session()
        return len(self._batch) + len(self._queued) + (session.waiting() if session is not None else 0)

    def drain(self, until: float | None = None, at_most: int | None = None) -> bool:
        """Dispatches what waits.

        Args:
            until: A monotonic time at which something else is due; `None`: all that waited at the call.
            at_most: How many are dispatched then, if it is not all of them; fewer if tasks have enough to do.

        Returns:
            Whether something still waits.
        """
        service = self._service
        patience = service.INCOMING_STALL_WARN_SECONDS
        self.looked()
        self._attend_to_birth()
        batch, queued, routes = self._batch, self._queued, self.routes
        self._debug = service.log.isEnabledFor(10)
        left = at_most or (self.waiting() + BATCH if until is None else -1)
        while True:
            if queued:
                self.sync_routes()
                _when, topic, text, *message = queued.popleft()
                if callable(topic):
                    self._guard(topic, text)
                else:
                    self.dispatch(topic, text, routes.router.route(topic), *message)
            elif batch or self._fetch():
                item = batch.popleft()
                if type(item) is not tuple:
                    self._guard(service.mqtt_client._handle, (item,))
                    if self.requests is not None and isinstance(item, Event.Connected) and item.protocol < 5:
                        self.requests.fail("the broker speaks MQTT 3.1.1 only")
                else:
                    if self.handlers_changed:
                        self.sync_routes()
                    if self._batch_version != routes.version:
                        item = (item[0], item[1], routes.router.route(item[0]), *item[3:])
                    self.dispatch(*item)
            else:
                return False
            now = monotonic()
            if now - self._looked_at > patience or self._stall_reported:
                self.looked()
            self._looked_at = now
            left -= 1
            if left == 0 or service.stop or (until is not None and now >= until):
                return True
            if at_most is not None and self.tasks is not None and self.tasks.is_full():
                return True

    def session(self) -> Any:
        """The engine's, unless the client is another library's or a double."""
        client = self._service.mqtt_client
        return client._session if isinstance(client, mqtt.Client) else None

    def _fetch(self) -> bool:
        """Takes what the engine has; whether that is anything."""
        session = self.session()
        if session is None or not session.has_events():
            return False
        self.sync_routes()
        self._batch_version = self.routes.version
        service = self._service
        self._debug = service.log.isEnabledFor(10)
        if "_on_message" in self.overrides or service.mqtt_client.on_message != service._on_message:
            taken = session.take(BATCH)
        else:
            taken = session.take_routed(BATCH, self.routes.router)
        for item in taken:
            if type(item) is tuple or type(item) is Message:
                service.last_message_received_at = wall_now()
                break
        self._batch.extend(taken)
        return bool(taken)

    def _guard(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Calls one of the client's callbacks: what it raises is logged and counted, like a handler's."""
        from ._errors import InternalError

        try:
            callback(*args)
        except InternalError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an override raises, the service goes on
            self._failed(f"{name_of(callback)} failed", error)

    def dispatch(self, topic: str, text: str, routes: Routed, message: Any = None) -> None:
        """Calls the handlers of a message (C12, C16 to C18); `message` is it as a whole, if it says more."""
        service, outer = self._service, self.message
        if message is not None and self.requests is not None and topic == self.requests.topic:
            self.requests.answered(message)
            return
        if not service.enabled and topic != service.data_topic_prefix + "enabled":
            return
        if self._debug:
            service.log.debug("Received MQTT message on topic %s containing %s", topic, text)
        # These, also when a handler has the routes made anew.
        targets = self.routes.targets
        if message is not None:
            self.message = message
        try:
            for handler_id, rest in routes:
                fn, with_service = targets[handler_id]
                try:
                    if rest is None:
                        answer = fn(service, text) if with_service else fn(text)
                    else:
                        answer = fn(service, text, rest) if with_service else fn(text, rest)
                    if answer is not None and message is not None:
                        self.answer(message, answer)
                except Exception as error:  # noqa: BLE001 - whatever it is, the others go on (C16)
                    self._failed(f"the handler {name_of(fn)} failed for a message on {topic!r}", error)
            is_birth = topic == self.birth.topic
            if is_birth:
                self.birth.heard(text)
            if not routes:
                self._unhandled(topic, text, expected=is_birth)
        finally:
            self.message = outer

    def _dispatch_further(self, topic: str, text: str, routes: Routed, message: Any = None) -> None:
        """As `dispatch`, which it replaces where there are tasks or somebody listens with `messages()`."""
        self.topic = topic
        streams = self.streams
        taken = streams is not None and self._service.enabled and streams.put(topic, text)
        if routes or not taken:
            Dispatcher.dispatch(self, topic, text, routes, message)

    def current_message(self) -> Any:
        """The message that is being handled, if it says more than its payload."""
        if self.message is None and self.tasks is not None:
            return self.tasks.current_message()
        return self.message

    def answer(self, message: Any, answer: object) -> None:
        """What a handler returns goes to where the message asks for its answer (MQTT 5 section 4.10)."""
        properties = message.properties
        if properties.response_topic is None:
            return
        data = properties.correlation_data
        how = {} if data is None else {"correlation_data": data}
        self._service.publish(properties.response_topic, answer, qos=message.qos, global_=True, **how)

    def _unhandled(self, topic: str, text: str, expected: bool) -> None:
        try:
            handled = self._service.handle_message(topic, text)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(f"handle_message failed for a message on {topic!r}", error)
            return
        if self.requests is not None and topic == self.requests.topic:
            self.requests.answered(None)
        elif not handled and not expected:
            self.nobody_handles(topic)
        elif handled is not True and hasattr(handled, "__await__"):
            self.need_tasks().finish_unhandled(handled, topic, text, expected)

    def nobody_handles(self, topic: str) -> None:
        """Says so (C17)."""
        filters: list[str] = [topic_filter for topic_filter, _ in self._service._all_handlers()]
        self._service.log.error(
            "No handler for topic %r; there are handlers for: %s", topic, ", ".join(filters) or "nothing"
        )

    def _failed(self, what: str, error: BaseException) -> None:
        self._service.log.error("%s: %s", what, error, exc_info=error)
        self._service.note_failure(f"{what}: {type(error).__name__}: {error}")

    # ---- a queue that nobody drains ------------------------------------------------------------------

    def stalled(self) -> float:
        """Seconds that messages have waited for a service that does not look, 0 if none has for long.

        The first time in a stall it is logged and counted.
        """
        seconds = self._stall_seconds()
        if seconds <= self._service.INCOMING_STALL_WARN_SECONDS:
            return 0.0
        if not self._stall_reported:
            self._stall_reported = True
            text = (
                f"{self.waiting()} incoming messages have waited for {seconds:.1f} s: a handler or loop takes too "
                "long, or nothing calls the service's _drain_incoming()"
            )
            self._service.log.warning("%s", text)
            self._service.note_failure(text)
        return seconds

    def _stall_seconds(self) -> float:
        session = self.session()
        if self._batch or (not self.idle and session is not None and session.waiting()):
            return monotonic() - self._looked_at
        try:
            arrived: float = self._queued[0][0]
        except IndexError:
            return 0.0
        return monotonic() - max(arrived, self._looked_at)

    def looked(self) -> float:
        """The service has looked after what came in: if that was overdue, it is said now. Returns the time."""
        now = monotonic()
        if now - self._looked_at > self._service.INCOMING_STALL_WARN_SECONDS:
            self.stalled()
        self._stall_reported = False
        self._looked_at = now
        return now


def overridden(service: Service, name: str) -> bool:
    """Whether a method of `Service` was replaced: in a subclass, or on this one."""
    from ._service import Service

    return getattr(getattr(service, name), "__func__", None) is not getattr(Service, name)


def _pause() -> None:
    import time

    time.sleep(0.01)
