"""The service: what authors inherit from (contract C2 to C5, C10 to C18, C40, C50 to C55)."""

from __future__ import annotations

import os
from _thread import get_ident
from datetime import timedelta
from time import monotonic

from . import _connection, _state, mqtt
from ._asynchronous import Asynchronous
from ._clock import wall_now
from ._decorators import collect
from ._dispatch import Dispatcher
from ._handlers import Handlers, is_coroutine_function, target
from ._loop import Loop, Loops
from ._native import Router, Wake, due_in
from ._paths import paths
from ._properties import with_concurrency, with_options
from ._publisher import Publisher
from ._state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path
    from typing import Any, ClassVar

    from . import ha_sensors
    from ._config import Config
    from ._handlers import Handler
    from ._native import Properties, Timer
    from ._request import Request
    from ._systemd import Notifier

#: The level of the root logger where neither the constructor nor the file says one: DEBUG. `miqro.run` sets INFO.
default_log_level = 10

#: What messages get of each step at least when a loop is always due, in seconds.
MESSAGE_SECONDS = 0.001
#: By this name the handler is known that a service gives the root logger.
LOG_HANDLER = "miqro"


class Service(Publisher, Asynchronous):
    """A service on an MQTT broker: handlers for messages, loops, publishing, state, configuration.

    Args:
        add_config_file_path: Where to look for the configuration before `CONFIG_FILE_PATHS`.
        log_level: Of the root logger, if nobody has set that up. Default: `log_level` of the configuration.
        mqtt_client_cls: The MQTT client; a double in tests.
        state_cls: The class of `state`; a double in tests.

    Raises:
        ConfigError: There is no configuration file, or it cannot be used.
        TypeError: A loop cannot be called with the service.
    """

    SERVICE_NAME: str = "none"
    CONFIG_FILE_PATHS: ClassVar[list[str | Path]] = paths("miqro.yml", "/etc/miqro.yml")
    #: Seconds that `_loop_step()` waits at most when it is called by hand.
    MAX_LOOP_INTERVAL: float = 0.2
    #: Seconds between two heartbeats on the will topic.
    MQTT_ONLINE_UPDATE_INTERVAL: float = 180
    USE_STATE_FILE: bool = False
    #: Seconds between two looks at the state, which is saved when it has changed, and at the end of `run()`.
    #: `None`: it is saved when `save()` is called.
    STATE_AUTOSAVE: float | None = None
    SUBSCRIBE_QOS: int = 1
    CLEAN_SESSION: bool = True
    #: Messages that wait for the service; beyond that the broker has to.
    MAX_INCOMING_QUEUE: int = 10_000
    #: Seconds after which a queue that nobody drains is reported.
    INCOMING_STALL_WARN_SECONDS: float = 5.0

    PREPARED_LOOPS: ClassVar[list[tuple[Handler, timedelta]]] = []
    CLASS_MQTT_HANDLERS: ClassVar[list[tuple[str, Handler]]] = []
    CLASS_MQTT_GLOBAL_HANDLERS: ClassVar[list[tuple[str, Handler]]] = []

    #: The lists above as they stand in the body of a class: see `collect`.
    _miqro_spelled_out: ClassVar[dict[str, list[Any]]] = {}

    LOOPS: list[Loop] | None = None
    ha_devices: list[ha_sensors.Device] = []  # noqa: RUF012 - each instance gets a list of its own
    ha_entities: list[ha_sensors.EntityWithoutStateTopic] = []  # noqa: RUF012 - as above

    log: logging.Logger
    mqtt_log: logging.Logger
    config: dict[str, Any]
    service_config: dict[str, Any]
    data_topic_prefix: str
    willtopic: str
    mqtt_client: Any
    mqtt_handlers: list[tuple[str, Handler]]
    mqtt_global_handlers: list[tuple[str, Handler]]
    state: Any = None
    enabled: bool = True
    is_connected: bool = False

    failure_count: int = 0
    last_failure: str | None = None
    last_failure_at: datetime | None = None
    disconnect_count: int = 0
    last_message_received_at: datetime | None = None

    _miqro_stop = False
    _miqro_wake: Wake
    #: Where systemd has asked to be told.
    _miqro_notifier: Notifier | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        collect(cls)

    def __init__(
        self,
        add_config_file_path: str | Path | None = None,
        log_level: int | str | None = None,
        mqtt_client_cls: Callable[..., Any] = mqtt.Client,
        state_cls: Callable[..., Any] = State,
    ) -> None:
        self._miqro_log_level = log_level
        self._miqro_config: Config | None = None
        self._prepare_logger(default_log_level if log_level is None else log_level)
        self._read_config(add_config_file_path)

        Publisher.__init__(self)
        # A service may have made some before it calls this.
        self.ha_devices = list(self.__dict__.get("ha_devices", ()))
        self.ha_entities = list(self.__dict__.get("ha_entities", ()))
        self.enabled = True
        self.mqtt_handlers = Handlers(self.CLASS_MQTT_HANDLERS)
        self.mqtt_handlers.append(("enabled", self._on_enable))
        self.mqtt_global_handlers = Handlers(self.CLASS_MQTT_GLOBAL_HANDLERS)

        self._miqro_wake = wake = Wake()
        #: The loops that `_miqro_timers` are the timers of, besides that of the announcement to Home Assistant.
        self._miqro_timed: list[Loop] | None = None
        self._miqro_timers: list[Timer] = []
        self._miqro_dispatcher = Dispatcher(self, wake)
        data_root = getattr(state_cls, "DATA_ROOT", State.DATA_ROOT)
        self.mqtt_client = _connection.make_client(
            self, mqtt_client_cls, self._miqro_dispatcher, wake, data_root
        )

        if self.USE_STATE_FILE:
            self.state = state_cls(self)

        self.LOOPS = Loops(self.LOOPS or (), wake)
        self._create_loops()
        self.log.info("started")

    def __str__(self) -> str:
        return self.SERVICE_NAME

    # ---- running -------------------------------------------------------------------------------------

    @property
    def stop(self) -> bool:
        """Set it to `True`, from any thread, and `run()` ends at once."""
        return self._miqro_stop

    @stop.setter
    def stop(self, value: bool) -> None:
        self._miqro_stop = bool(value)
        self._miqro_notify()

    def run(self) -> None:
        """Connects, and runs handlers and loops on this thread until `stop` is set, SIGTERM or Ctrl-C comes.

        The broker need not be there: it is tried for ever. At the end `0` is published on the will topic, and
        what is queued is sent, within two seconds.

        Raises:
            KeyboardInterrupt: After Ctrl-C and the farewell. Nobody has to catch it: the exit status is 130.
            InternalError: The engine has failed.
        """
        from ._signals import Signals

        dispatcher = self._miqro_dispatcher
        process = os.getpid()
        notifier = self._miqro_follow_systemd()
        with Signals(self._miqro_wake, self._miqro_terminate) as signals:
            dispatcher.thread = get_ident()
            dispatcher.look_at_overrides()
            if not signals.on_main_thread:
                from ._exit import watch_service

                watch_service(self)
            try:
                self._miqro_begin()
                while not self.stop:
                    if dispatcher.tasks is not None:
                        from ._running import run

                        run(self, signals)
                    elif "_loop_step" not in dispatcher.overrides:
                        self._miqro_step(None)
                    else:
                        self._loop_step()
                        self._drain_incoming()
                        if notifier is not None:
                            notifier.give_sign()
            finally:
                signals.leaving()
                dispatcher.leave()
                self._miqro_notifier = None
                try:
                    # A child of fork() that comes this way leaves the service to its parent.
                    if os.getpid() == process:
                        if notifier is not None:
                            notifier.stopping()
                        if self.STATE_AUTOSAVE is not None:
                            _state.save_at_the_end(self)
                        _connection.farewell(self)
                finally:
                    dispatcher.left()

    def _miqro_follow_systemd(self) -> Notifier | None:
        """Who tells systemd how the service is, if systemd has asked."""
        if "NOTIFY_SOCKET" in os.environ:
            from ._systemd import Notifier

            self._miqro_notifier = Notifier(self)
        return self._miqro_notifier

    def _miqro_begin(self) -> None:
        """Connects, and has the loops that wait for it due. What is `async def` runs as tasks from now on."""
        handlers = [fn for _, fn in (*self.mqtt_global_handlers, *self.mqtt_handlers)]
        if any(map(is_coroutine_function, [*handlers, *(loop.fn for loop in self.LOOPS or ())])):
            self._miqro_dispatcher.need_tasks()
        self.mqtt_client.loop_start()
        if self._miqro_notifier is not None:
            self._miqro_notifier.ready()
        for loop in self.LOOPS or ():
            loop._begin()

    def _miqro_notify(self) -> None:
        # Before `__init__` there is nothing to wake.
        if "_miqro_wake" in self.__dict__:
            self._miqro_wake.notify()

    def _miqro_terminate(self) -> None:
        self.log.info("SIGTERM: stopping")
        self.stop = True

    def _loop_step(self) -> None:
        """Handles what is queued, calls the loops that are due, and waits for more, `MAX_LOOP_INTERVAL` at most."""
        self._miqro_step(self.MAX_LOOP_INTERVAL)

    def _miqro_step(self, limit: float | None) -> None:
        # A step by hand dispatches on the thread that makes it.
        dispatcher = self._miqro_dispatcher
        outermost = dispatcher.thread is None
        if outermost:
            dispatcher.thread = get_ident()
            dispatcher.look_at_overrides()
        try:
            dispatcher.begin_turn()
            try:
                more = self._miqro_work()
            finally:
                dispatcher.end_turn()
            if outermost and self._miqro_by_hand():
                return
            if not more and not self.stop:
                self._miqro_wait(self._miqro_due_in(), limit)
        finally:
            if outermost:
                dispatcher.thread = None

    def _miqro_work(self) -> bool:
        """Calls the loops that are due, and handles messages until the next one is; whether more wait."""
        if self._miqro_notifier is not None:
            self._miqro_notifier.give_sign()
        took = 0.0
        left = self._miqro_due_in()
        if left is not None and left <= 0:
            took = self._miqro_run_loops()
            left = self._miqro_due_in()
        if left is None:
            return self._miqro_dispatch(None)
        # Where loops are always due, messages get as much time as they took.
        patience = left if left > 0 else took
        return self._miqro_dispatch(monotonic() + max(patience, MESSAGE_SECONDS))

    def _miqro_dispatch(self, until: float | None, at_most: int | None = None) -> bool:
        """Handles messages; whether more wait. See `Dispatcher.drain`."""
        if "_drain_incoming" in self._miqro_dispatcher.overrides:
            self._drain_incoming()
            return False
        return self._miqro_dispatcher.drain(until, at_most)

    def _miqro_by_hand(self) -> bool:
        """Runs what is `async def` in a step by hand; whether some goes on, for which it has waited long enough."""
        tasks = self._miqro_dispatcher.tasks
        return tasks is not None and tasks.by_hand(self.MAX_LOOP_INTERVAL)

    def _miqro_poll_seconds(self) -> float | None:
        # A class that spells out `stop = False` has hidden the property that would wake it.
        return None if type(self).stop is Service.stop else self.MAX_LOOP_INTERVAL

    def _miqro_wait(self, timeout: float | None, limit: float | None) -> None:
        if "_wait_for_work" in self._miqro_dispatcher.overrides:
            # What it waits for is its own affair: nothing here can wake it.
            limit = self.MAX_LOOP_INTERVAL if limit is None else limit
        else:
            polling = self._miqro_poll_seconds()
            limit = limit if polling is None else polling
        if limit is not None:
            timeout = limit if timeout is None else min(timeout, limit)
        if timeout is None or timeout > 0:
            self._wait_for_work(timeout)

    def _wait_for_work(self, timeout: float | None) -> None:
        """Waits until there is a message, a change or a signal, for `timeout` seconds (`None`: for ever).

        A service may override it, to wait for a device of its own; it must come back in time.
        """
        dispatcher = self._miqro_dispatcher
        dispatcher.idle = True
        try:
            session = dispatcher.session()
            (session or self._miqro_wake).sleep(timeout)
        finally:
            dispatcher.looked()
            dispatcher.idle = False

    def _drain_incoming(self) -> None:
        """Dispatches the messages that are queued."""
        by_hand = self._miqro_dispatcher.thread is None
        if by_hand:
            self._miqro_dispatcher.look_at_overrides()
        self._miqro_dispatcher.drain()
        if by_hand:
            self._miqro_by_hand()

    def healthy(self) -> bool:
        """Whether it is connected, its network thread lives, and somebody handles what comes in."""
        return self.is_connected and self.mqtt_thread_alive() and not self._miqro_dispatcher.stalled()

    def mqtt_thread_alive(self) -> bool:
        """Whether the thread that talks to the broker runs."""
        return _connection.thread_alive(self.mqtt_client)

    def note_failure(self, text: str) -> None:
        """Records that something went wrong: `failure_count`, `last_failure`, `last_failure_at`."""
        self.failure_count += 1
        self.last_failure = text
        self.last_failure_at = wall_now()

    # ---- loops ---------------------------------------------------------------------------------------

    def add_loop(self, loop: Loop) -> Loop:
        """Has `loop` called by this service; returns it."""
        if self.LOOPS is None:
            self.LOOPS = []
        self.LOOPS.append(loop)
        # The list may be a plain one of the service's own.
        self._miqro_notify()
        return loop

    def _create_loops(self) -> None:
        heartbeat = timedelta(seconds=self.MQTT_ONLINE_UPDATE_INTERVAL)
        self.add_loop(Loop(self._update_online_status, heartbeat))
        for fn, interval in self.PREPARED_LOOPS:
            self.add_loop(Loop(fn, interval))
        if self.STATE_AUTOSAVE is not None:
            _state.autosave(self)

    def _miqro_due_in(self) -> float | None:
        """Seconds until the next loop is due, or the announcement to Home Assistant, or a sign of life."""
        loops = self.LOOPS or []
        if loops != self._miqro_timed:
            self._miqro_timed = list(loops)
            self._miqro_timers = [self._miqro_dispatcher.birth.timer, *map(self._miqro_attach, loops)]
        soonest = due_in(self._miqro_timers)
        if self._miqro_notifier is not None:
            sign = self._miqro_notifier.due_in()
            soonest = sign if soonest is None or (sign is not None and sign < soonest) else soonest
        return soonest

    def _miqro_attach(self, loop: Loop) -> Timer:
        """Has `loop` tell of its changes; gives its timer."""
        return loop._attach(self._miqro_wake)

    def _miqro_run_loops(self) -> float:
        """Calls the loops that are due; the seconds that this took."""
        began = monotonic()
        for loop in tuple(self.LOOPS or ()):
            if self.stop:
                break
            try:
                loop.run_if_needed(self)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on (C16)
                self._miqro_loop_failed(loop, error)
        return monotonic() - began

    def _miqro_loop_failed(self, loop: Loop, error: BaseException) -> None:
        self.log.error("%s failed: %s", loop, error, exc_info=error)
        self.note_failure(f"{loop} failed: {type(error).__name__}: {error}")

    def _update_online_status(self, _: object = None) -> None:
        # While there is no connection nothing is published: the connect will say it. An `_on_connect` without
        # super leaves `is_connected` as it is.
        if self.is_connected or _connection.connected(self.mqtt_client):
            self.publish(self.willtopic, "1", retain=True, global_=True)
        self.log.info("Loop stats:")
        for loop in self.LOOPS or ():
            calls, mean, load, overloaded = loop.stat_get()
            errors = loop.stat_error_count
            loop.stat_reset()
            self.log.info(
                " - %s called %d times, average duration %.6fs, load=%d%%, errors=%d",
                loop,
                calls,
                mean,
                load * 100,
                errors,
            )
            if overloaded:
                self.log.warning(
                    "   %s takes, on average, longer (%.6fs) than its interval (%ss)",
                    loop,
                    mean,
                    loop.interval.total_seconds(),
                )

    # ---- configuration -------------------------------------------------------------------------------

    def _prepare_logger(self, log_level: int | str) -> None:
        import logging

        root = logging.getLogger()
        if not root.handlers:
            handler = logging.StreamHandler()
            handler.set_name(LOG_HANDLER)
            handler.setFormatter(logging.Formatter("%(asctime)s  %(name)s  %(levelname)s \t%(message)s"))
            root.addHandler(handler)
        if root.handlers[0].name == LOG_HANDLER:
            # A program that has set logging up itself keeps its level.
            root.setLevel(log_level)
        self.log = logging.getLogger(self.SERVICE_NAME + ".main")
        self.mqtt_log = logging.getLogger(self.SERVICE_NAME + ".mqtt")

    def _read_config(self, add_config_file_path: str | Path | None = None) -> None:
        _connection.read_config(self, add_config_file_path, self._miqro_log_level)

    def _make_tls_config(self, section: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments of paho's `tls_set` for the section `tls` of the configuration."""
        return _connection.tls_arguments(section)

    # ---- the connection ------------------------------------------------------------------------------

    def _on_connect(self, client: Any, userdata: object, flags: object, rc: int) -> None:
        if rc != 0:
            self.log.debug("the broker refused the connection with code %s", rc)
            return
        self.is_connected = True
        self._miqro_dispatcher.sync_routes()
        filters = self._miqro_dispatcher.filters()
        self.log.info("MQTT connected, subscribing to: %s", ", ".join(filters))
        with _connection.greeting(client):
            _connection.subscribe(self, client, filters)
            self.mqtt_client.publish(self.willtopic, "1", retain=True)
            self._miqro_dispatcher.birth.announced()
            self._publish_ha_discovery()

    def _on_disconnect(self, client: Any, userdata: object, rc: int) -> None:
        self.is_connected = False
        self.disconnect_count += 1
        self.log.log(20 if rc == 0 else 30, "MQTT disconnected, rc=%s", rc)

    def _publish_ha_discovery(self) -> None:
        prefix = self.config.get("ha_discovery_prefix") or "homeassistant"
        for device in self.ha_devices:
            device.publish_discovery(prefix)
        for entity in self.ha_entities:
            entity.publish_discovery(prefix)

    # ---- messages in ---------------------------------------------------------------------------------

    def request(self, topic: str, payload: object, *, timeout: float = 5.0, qos: int = 1) -> Request:
        """Asks a question, and gives what its answer will be found in: `await` it, or call its `result()`.

        The answer is what a handler of another service returns, or whatever else is published on the response topic
        with the correlation data of the question. It needs MQTT 5: `protocol: 5`, or `auto`.

        Args:
            topic: The whole topic of the question.
            payload: As of `publish`.
            timeout: Seconds for the answer. After that the question is not delivered any more.
            qos: 0, 1 or 2.

        Raises:
            RequestError: The session does not speak MQTT 5, or the message was not accepted.
            ValueError: The timeout is not over 0.
        """
        dispatcher = self._miqro_dispatcher
        if dispatcher.requests is None:
            from ._request import Requests

            with self._miqro_sending:
                dispatcher.requests = dispatcher.requests or Requests(self)
        return dispatcher.requests.ask(topic, payload, timeout, qos)

    @property
    def message_properties(self) -> Properties | None:
        """In a handler: what its message says besides its payload (MQTT 5). `None` where it says nothing."""
        message = self._miqro_dispatcher.current_message()
        return None if message is None else message.properties

    def add_handler(
        self,
        topic: str,
        handler: Handler,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        concurrency: int = 1,
    ) -> None:
        """Calls `handler` for each message on `<data_topic_prefix><topic>`; see `miqro.handle`.

        Raises:
            TypeError: It cannot be called with what handlers are called with.
            ValueError: The filter or an option is not valid.
        """
        topic = with_options(topic, no_local, retain_as_published, retain_handling)
        topic = with_concurrency(topic, handler, concurrency)
        self._miqro_add(self.mqtt_handlers, topic, self.data_topic_prefix + topic, handler)

    def add_global_handler(
        self,
        topic: str,
        handler: Handler,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        concurrency: int = 1,
    ) -> None:
        """As `add_handler`, for a filter that is taken as it is."""
        topic = with_options(topic, no_local, retain_as_published, retain_handling)
        topic = with_concurrency(topic, handler, concurrency)
        self._miqro_add(self.mqtt_global_handlers, topic, topic, handler)

    def _miqro_add(
        self, handlers: list[tuple[str, Handler]], topic: str, topic_filter: str, handler: Handler
    ) -> None:
        target(handler, topic_filter)
        Router().add(topic_filter, False)
        handlers.append((topic, handler))
        self._miqro_dispatcher.handlers_changed = True
        if self.is_connected:
            self.log.info("Subscribing to %s", topic_filter)
            _connection.subscribe(self, self.mqtt_client, [topic_filter])

    def _all_handlers(self) -> Iterator[tuple[str, Handler]]:
        yield from self.mqtt_global_handlers
        for topic, handler in self.mqtt_handlers:
            yield self.data_topic_prefix + topic, handler

    def _on_message(self, client: Any, userdata: object, msg: Any) -> None:
        with_properties = getattr(msg, "properties", None) is not None
        self._miqro_dispatcher.put(msg.topic, msg.payload, msg if with_properties else None)

    def _on_enable(self, payload: str) -> None:
        if payload not in ("0", "1"):
            self.log.warning("%senabled takes 0 or 1, not %r: ignored", self.data_topic_prefix, payload)
            return
        self.enabled = payload == "1"
        self.log.info("set enabled to %r", self.enabled)

    def handle_message(self, topic: str, payload: str) -> object:
        """Called for a message that no handler takes. To be overridden; something true says it was handled."""
        return False
