"""What `import miqro` gives, and what a service inherits, has and may override (contract C1 to C4, C11)."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from miqro.test.tools import DummyMQTTClient, DummyState
from services import DEADLINE, Running, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker, Observer

    Config = Callable[..., Path]


class Plain(miqro.Service):
    SERVICE_NAME = "plain"


# ---- C1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Service",
        "Loop",
        "State",
        "loop",
        "handle",
        "handle_global",
        "accept_json",
        "run",
        "ha_sensors",
        "mqtt",
        "__version__",
        "ConfigError",
    ],
)
def test_import_miqro_gives_every_public_name(name: str) -> None:
    """C1."""
    assert getattr(miqro, name) is not None
    assert name in miqro.__all__


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("datetime", datetime),
        ("timedelta", timedelta),
        ("Path", Path),
        ("json", json),
        ("logging", logging),
        ("sleep", time.sleep),
    ],
)
def test_names_that_1x_let_leak_resolve(name: str, value: object) -> None:
    """C1: services wrote `miqro.timedelta`."""
    assert getattr(miqro, name) is value


def test_from_miqro_import_takes_public_and_leaked_names() -> None:
    """C1: the other way of writing it."""
    namespace: dict[str, Any] = {}
    exec("from miqro import Service, Loop, run, ha_sensors, mqtt, timedelta, Path, sleep", namespace)
    assert namespace["timedelta"] is timedelta
    assert namespace["run"] is miqro.run


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    """C1: a typing error reads like one of any module."""
    with pytest.raises(AttributeError, match="module 'miqro' has no attribute 'Sevice'"):
        miqro.Sevice  # noqa: B018 - the look-up is what is tested
    assert not hasattr(miqro, "handler")


def test_what_a_service_does_not_use_is_not_imported() -> None:
    """C1: lazily, for services on small machines."""
    code = """
import warnings
warnings.simplefilter("ignore")
import sys
import miqro
eager = [n for n in ("datetime", "timedelta", "Path", "json", "logging", "sleep", "ha_sensors", "run")
         if n in vars(miqro)]
heavy = [m for m in ("argparse", "asyncio", "ssl", "yaml", "dataclasses", "inspect", "json", "miqro.ha_sensors",
                     "miqro._cli") if m in sys.modules]
assert not eager, eager
assert not heavy, heavy
miqro.timedelta, miqro.ha_sensors, miqro.run
assert "miqro.ha_sensors" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_version_is_that_of_the_distribution() -> None:
    """C1."""
    from importlib.metadata import version

    assert miqro.__version__ == version("miqro")


def test_the_package_says_that_it_is_typed_and_its_methods_are() -> None:
    """C1: `py.typed`, and no public callable without annotations."""
    assert (Path(miqro.__file__).parent / "py.typed").is_file()
    test_tools = importlib.import_module("miqro.test.tools")
    for thing in (miqro.Service, miqro.Loop, miqro.mqtt.Client, miqro.State, miqro.run, test_tools.send):
        for name, member in [("", thing), *vars(thing).items()]:
            if inspect.isfunction(member) and not name.startswith("__"):
                missing = [
                    parameter.name
                    for parameter in inspect.signature(member).parameters.values()
                    if parameter.annotation is parameter.empty and parameter.name != "self"
                ]
                assert not missing, f"{member.__qualname__}: {missing}"
                assert "return" in member.__annotations__, member.__qualname__


# ---- C2 ------------------------------------------------------------------------------------------------


def test_service_is_a_plain_class_without_a_metaclass() -> None:
    """C2: so that it goes together with any other base."""
    assert type(miqro.Service) is type
    assert miqro.Service.__mro__[-1] is object
    assert all(type(base) is type for base in miqro.Service.__mro__)


def test_the_constructor_takes_its_arguments_by_position(config: Path) -> None:
    """C2."""

    class Stateful(miqro.Service):
        SERVICE_NAME = "stateful"
        USE_STATE_FILE = True

    service = Stateful(config, logging.INFO, DummyMQTTClient, DummyState)
    assert isinstance(service.mqtt_client, DummyMQTTClient)
    assert isinstance(service.state, DummyState)


def test_the_constructor_takes_its_arguments_by_name(config: Path) -> None:
    """C2: also a path as text."""
    service = Plain(
        state_cls=DummyState,
        mqtt_client_cls=DummyMQTTClient,
        log_level="WARNING",
        add_config_file_path=str(config),
    )
    assert service.config["broker"]["port"] == 1883


def test_the_constructors_parameters_have_the_documented_names_order_and_defaults() -> None:
    """C2."""
    parameters = inspect.signature(miqro.Service).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "add_config_file_path": None,
        "log_level": None,
        "mqtt_client_cls": miqro.mqtt.Client,
        "state_cls": miqro.State,
    }
    assert list(parameters) == ["add_config_file_path", "log_level", "mqtt_client_cls", "state_cls"]


def test_without_arguments_the_configuration_of_the_folder_is_used(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2, C3: `CONFIG_FILE_PATHS` begins with `miqro.yml`."""
    monkeypatch.chdir(config.parent)
    assert Plain().config["broker"]["port"] == 1883


@pytest.mark.parametrize("service_first", [True, False])
def test_a_service_that_is_a_thread_too_runs_when_started(
    broker: Broker, observer: Observer, write_config: Config, service_first: bool
) -> None:
    """C2: `class S(miqro.Service, threading.Thread)`, with both constructors called by hand."""

    class Threaded(miqro.Service, threading.Thread):
        SERVICE_NAME = "threaded"

        def __init__(self, path: Path) -> None:
            if service_first:
                miqro.Service.__init__(self, path)
                threading.Thread.__init__(self, daemon=True)
            else:
                threading.Thread.__init__(self, daemon=True)
                miqro.Service.__init__(self, path)
            self.ran_on: list[int | None] = []

        @miqro.handle("echo")
        def echo(self, payload: str) -> None:
            self.ran_on.append(threading.get_ident())
            self.publish("echoed", payload)

    service = Threaded(write_config(broker.port))
    service.start()
    observer.wait_for("service/threaded/online", "1")
    observer.publish("service/threaded/echo", "hello")
    observer.wait_for("service/threaded/echoed", "hello")
    assert service.ran_on == [service.ident]
    service.stop = True
    service.join(DEADLINE)
    assert not service.is_alive()
    observer.wait_for("service/threaded/online", "0")


def test_a_thread_whose_constructor_runs_after_it_was_used_keeps_the_service(config: Path) -> None:
    """C2: what the service holds, and what a `Thread` holds, do not get into each other's way."""

    class Threaded(miqro.Service, threading.Thread):
        SERVICE_NAME = "threaded"

        def __init__(self, path: Path) -> None:
            miqro.Service.__init__(self, path, mqtt_client_cls=DummyMQTTClient)
            self.heard: list[str] = []
            self.add_handler("before", self.heard.append)
            threading.Thread.__init__(self, name="mine")
            self.add_handler("after", self.heard.append)

    service = Threaded(config)
    receive(service, "service/threaded/before", "1")
    receive(service, "service/threaded/after", "2")
    assert service.heard == ["1", "2"]
    assert service.name == "mine"
    assert not service.is_alive()
    assert not service.stop


def test_the_constructor_is_called_once_where_both_bases_cooperate(config: Path) -> None:
    """C2: `super().__init__()` of a service reaches `miqro.Service` and no further, as in 1.x."""

    class Mixin:
        def __init__(self) -> None:
            raise AssertionError("nobody asked for this")

    class Both(miqro.Service, Mixin):
        SERVICE_NAME = "both"

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    assert make(Both, config).is_connected is False


def test_a_service_may_use_names_that_are_the_engines_own(config: Path) -> None:
    """C2: 1.x had few names; services gave theirs to what they liked."""

    class Busy(miqro.Service):
        SERVICE_NAME = "busy"

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.thread = "t"
            self.wake = "w"
            self.dispatcher = "d"
            setattr(self, "_Busy__wake", "mine")  # noqa: B010 - what `self.__wake` is here
            setattr(self, "_Busy__stop", "mine")  # noqa: B010
            super().__init__(*args, **kwargs)
            self.session = self.router = self.routes = self.queue = self.loops = self.timer = "mine"
            self._wake = self._queue = self._session = self._router = self._thread = self._dispatcher = "mine"
            self._stop = self._running = self._lock = self._handlers = self._loop = self._state = "mine"
            self.heard: list[str] = []

        def dispatch(self) -> None:
            raise AssertionError("mine, not yours")

        drain = send = notify = step = wait = begin = attach = farewell = _dispatch = _send = _step = dispatch

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.heard.append(payload)

    service = make(Busy, config)
    with Running(service) as running:
        running.connected()
        receive(service, "service/busy/a", "1", dispatch=False)
        running.wait(lambda: service.heard)
    assert service.heard == ["1"]


def test_a_service_is_shown_by_its_name(config: Path) -> None:
    """C2: as in 1.x, where f"{self}" went into topics and logs."""
    assert str(make(Plain, config)) == "plain"


def test_a_service_is_made_twice_in_one_process(config: Path) -> None:
    """C2, C3: nothing of the first one shows in the second one, nor in the class."""
    before = {name: repr(value) for name, value in vars(miqro.Service).items()}

    class Twice(miqro.Service):
        SERVICE_NAME = "twice"

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.last_failure = payload

        @miqro.loop(seconds=1000)
        def tick(self) -> None:
            pass

    first = make(Twice, config)
    first.add_handler("extra", lambda _service, _payload: None)
    first.add_global_handler("extra", lambda _service, _payload: None)
    first.add_loop(miqro.Loop(lambda _service: None, timedelta(seconds=5)))
    first.ha_devices.append("device")  # type: ignore[arg-type]
    first.ha_entities.append("entity")  # type: ignore[arg-type]
    first.note_failure("something")
    first.publish("x", 1, only_if_changed=True)
    first.stop = True
    second = make(Twice, config)
    assert [topic for topic, _ in second.mqtt_handlers] == ["a", "enabled"]
    assert second.mqtt_global_handlers == []
    assert len(second.LOOPS or ()) == 2
    assert second.ha_devices == []
    assert second.ha_entities == []
    assert (second.failure_count, second.last_failure, second.last_failure_at) == (0, None, None)
    assert len(second.last_key_values) == 0
    assert second.stop is False
    receive(first, "service/twice/a", "only the first")
    assert second.last_failure is None
    assert {name: repr(value) for name, value in vars(miqro.Service).items()} == before
    assert Twice.CONFIG_FILE_PATHS is miqro.Service.CONFIG_FILE_PATHS
    assert [str(path) for path in Twice.CONFIG_FILE_PATHS] == ["miqro.yml", "/etc/miqro.yml"]


# ---- C3 ------------------------------------------------------------------------------------------------


def test_the_default_configuration_paths_are_paths() -> None:
    """C3: services ask them for `exists()` or `parent`, as they could in 1.x."""
    assert [path for path in miqro.Service.CONFIG_FILE_PATHS if not isinstance(path, Path)] == []


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("SERVICE_NAME", "none"),
        ("JSON_FLOAT_PRECISION", 5),
        ("MAX_LOOP_INTERVAL", 0.2),
        ("MQTT_ONLINE_UPDATE_INTERVAL", 180),
        ("PAYLOAD_ON", "1"),
        ("PAYLOAD_OFF", "0"),
        ("USE_STATE_FILE", False),
        ("QOS_MAX_ONCE", 0),
        ("QOS_AT_LEAST_ONCE", 1),
        ("QOS_EXACTLY_ONCE", 2),
        ("PREPARED_LOOPS", []),
        ("CLASS_MQTT_HANDLERS", []),
        ("CLASS_MQTT_GLOBAL_HANDLERS", []),
        ("LOOPS", None),
        ("ha_devices", []),
        ("ha_entities", []),
        ("SUBSCRIBE_QOS", 1),
        ("CLEAN_SESSION", True),
        ("MAX_INCOMING_QUEUE", 10_000),
        ("INCOMING_STALL_WARN_SECONDS", 5.0),
    ],
)
def test_class_attributes_have_the_documented_defaults(name: str, default: object) -> None:
    """C3."""
    assert getattr(miqro.Service, name) == default


def test_the_configuration_is_looked_for_in_two_places() -> None:
    """C3."""
    assert [str(path) for path in miqro.Service.CONFIG_FILE_PATHS] == ["miqro.yml", "/etc/miqro.yml"]


def test_overridden_payloads_and_precision_are_sent(config: Path) -> None:
    """C3: numbers too, as 1.x had them."""

    class Numbers(miqro.Service):
        SERVICE_NAME = "numbers"
        PAYLOAD_ON = "yes"
        PAYLOAD_OFF = 0
        JSON_FLOAT_PRECISION = 2

    service = make(Numbers, config)
    service.publish("a", True)
    service.publish("b", False)
    service.publish("c", 1.23456)
    service.publish("d", {"e": 1.23456})
    assert service.mqtt_client.message_queue == [
        ("service/numbers/a", "yes"),
        ("service/numbers/b", "0"),
        ("service/numbers/c", "1.23"),
        ("service/numbers/d", '{"e": 1.23}'),
    ]


def test_attributes_that_are_set_on_the_instance_count(config: Path) -> None:
    """C3: some services read them from their configuration."""
    service = make(Plain, config)
    service.PAYLOAD_ON = "an"
    service.JSON_FLOAT_PRECISION = 0
    service.publish("a", True)
    service.publish("b", 2.6)
    assert [text for _, text in service.mqtt_client.message_queue] == ["an", "3.0"]


def test_overridden_configuration_paths_are_used_and_not_changed(config: Path) -> None:
    """C3: 1.x put the constructor's path into the list of the class."""

    class Elsewhere(miqro.Service):
        SERVICE_NAME = "elsewhere"
        CONFIG_FILE_PATHS = ["/nowhere/miqro.yml", config]  # noqa: RUF012 - as services write it

    assert Elsewhere(mqtt_client_cls=DummyMQTTClient).config["broker"]["port"] == 1883
    assert Elsewhere(config, mqtt_client_cls=DummyMQTTClient).config["broker"]["port"] == 1883
    assert ["/nowhere/miqro.yml", config] == Elsewhere.CONFIG_FILE_PATHS


def test_the_heartbeat_comes_at_the_overridden_interval(config: Path) -> None:
    """C3: `MQTT_ONLINE_UPDATE_INTERVAL` is read when the service is made."""

    class Quick(miqro.Service):
        SERVICE_NAME = "quick"
        MQTT_ONLINE_UPDATE_INTERVAL = 7

    loops = make(Quick, config).LOOPS
    assert loops is not None
    assert [loop.interval for loop in loops] == [timedelta(seconds=7)]


def test_lists_that_a_class_spells_out_are_its_handlers_and_loops(config: Path) -> None:
    """C3: `PREPARED_LOOPS`, `CLASS_MQTT_HANDLERS` and `CLASS_MQTT_GLOBAL_HANDLERS` may be written by hand."""
    seen: list[object] = []

    def on_x(service: miqro.Service, payload: str) -> None:
        seen.append((service.SERVICE_NAME, payload))

    class ByHand(miqro.Service):
        SERVICE_NAME = "by_hand"
        CLASS_MQTT_HANDLERS = [("x", on_x)]  # noqa: RUF012 - as services write it
        CLASS_MQTT_GLOBAL_HANDLERS = [("x", on_x)]  # noqa: RUF012
        PREPARED_LOOPS = [(lambda service: seen.append(str(service)), timedelta(seconds=1000))]  # noqa: RUF012

        @miqro.handle("y")
        def on_y(self, payload: str) -> None:
            seen.append(payload)

    service = make(ByHand, config)
    receive(service, "service/by_hand/x", "own")
    receive(service, "x", "global")
    receive(service, "service/by_hand/y", "marked")
    service._loop_step()
    assert seen == [("by_hand", "own"), ("by_hand", "global"), "marked", "by_hand"]


def test_the_subscription_is_made_with_the_overridden_quality_of_service(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C3: `SUBSCRIBE_QOS`."""

    class Careless(miqro.Service):
        SERVICE_NAME = "careless"
        SUBSCRIBE_QOS = 0

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("seen", payload)

    with Running(Careless(write_config(broker.port))) as running:
        running.connected()
        observer.publish("service/careless/a", "1", qos=2)
        observer.wait_for("service/careless/seen", "1")
        broker.wait_log(r"careless 0 service/careless/a")


# ---- C4 ------------------------------------------------------------------------------------------------


def test_a_service_has_the_documented_attributes(write_config: Config) -> None:
    """C4."""
    path = write_config(1883, "services:\n  plain:\n    answer: 42\n  other:\n    answer: 23")
    service = make(Plain, path)
    assert isinstance(service.log, logging.Logger)
    assert service.log.name == "plain.main"
    assert isinstance(service.mqtt_log, logging.Logger)
    assert service.mqtt_log.name == "plain.mqtt"
    assert service.config["services"]["other"] == {"answer": 23}
    assert service.service_config == {"answer": 42}
    assert service.data_topic_prefix == "service/plain/"
    assert service.willtopic == "service/plain/online"
    assert isinstance(service.mqtt_client, DummyMQTTClient)
    assert [topic for topic, _ in service.mqtt_handlers] == ["enabled"]
    assert service.mqtt_global_handlers == []
    assert service.enabled is True
    assert service.is_connected is False
    assert service.stop is False
    assert service.state is None
    assert [str(loop) for loop in service.LOOPS or ()] == ["Loop(_update_online_status)"]
    assert len(service.last_key_values) == 0
    assert service.failure_count == 0
    assert service.last_failure is None
    assert service.last_failure_at is None
    assert service.disconnect_count == 0
    assert service.last_message_received_at is None


def test_the_attributes_are_there_while_the_client_is_made(config: Path) -> None:
    """C4: a client class of the service's own may look at them."""
    seen: dict[str, object] = {}

    class Looks(miqro.Service):
        SERVICE_NAME = "looks"

        def _make_client(self, client_id: str) -> DummyMQTTClient:
            return DummyMQTTClient(client_id)

        def __init__(self, path: Path) -> None:
            def client(client_id: str) -> DummyMQTTClient:
                seen.update(
                    id=client_id, prefix=self.data_topic_prefix, will=self.willtopic, log=self.log.name
                )
                return self._make_client(client_id)

            super().__init__(path, mqtt_client_cls=client)

    Looks(config)
    assert seen == {
        "id": "looks",
        "prefix": "service/looks/",
        "will": "service/looks/online",
        "log": "looks.main",
    }


def test_a_missing_section_of_the_service_is_an_empty_one(config: Path) -> None:
    """C4."""
    assert make(Plain, config).service_config == {}


@pytest.mark.parametrize("forget", ["clear", "pop", "del"])
def test_what_was_last_sent_can_be_forgotten(config: Path, forget: str) -> None:
    """C4: `last_key_values` is a live mapping."""
    service = make(Plain, config)
    queue = service.mqtt_client.message_queue
    topic = "service/plain/a"
    service.publish("a", 1, only_if_changed=True)
    service.publish("a", 1, only_if_changed=True)
    assert len(queue) == 1
    assert list(service.last_key_values) == [topic]
    if forget == "clear":
        service.last_key_values.clear()
    elif forget == "pop":
        assert service.last_key_values.pop(topic) == "1"
    else:
        del service.last_key_values[topic]
    assert topic not in service.last_key_values
    service.publish("a", 1, only_if_changed=True)
    assert len(queue) == 2


def test_is_connected_follows_the_connection(config: Path) -> None:
    """C4."""
    service = make(Plain, config)
    service.mqtt_client.ensure_connected()
    assert service.is_connected is True
    service.mqtt_client.simulate_disconnect()
    assert service.is_connected is False
    assert service.disconnect_count == 1
    service.mqtt_client.ensure_connected()
    assert service.is_connected is True
    service.mqtt_client.simulate_disconnect()
    assert service.disconnect_count == 2


def test_the_health_record_tells_of_failures(config: Path) -> None:
    """C4: how many, the last one, and when that was."""

    class Fails(miqro.Service):
        SERVICE_NAME = "fails"

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            raise RuntimeError("the pump is dry: " + payload)

    service = make(Fails, config)
    before = datetime.now()
    receive(service, "service/fails/a", "1")
    receive(service, "service/fails/a", "2")
    assert service.failure_count == 2
    assert service.last_failure is not None
    assert "the pump is dry: 2" in service.last_failure
    assert service.last_failure_at is not None
    assert before <= service.last_failure_at <= datetime.now()


def test_the_health_record_tells_of_the_last_message_on_a_double(config: Path) -> None:
    """C4: `last_message_received_at`."""
    service = make(Plain, config)
    service.mqtt_client.ensure_connected()
    assert service.last_message_received_at is None
    before = datetime.now()
    receive(service, "service/plain/enabled", "1")
    assert service.last_message_received_at is not None
    assert before <= service.last_message_received_at <= datetime.now()


def test_the_health_record_tells_of_the_last_message_of_a_broker(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C4: of messages, and not of the news that it is connected."""
    seen: list[object] = []

    class Listens(miqro.Service):
        SERVICE_NAME = "listens"

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            seen.append(payload)

    service = Listens(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        assert service.last_message_received_at is None
        before = datetime.now()
        observer.publish("service/listens/a", "1")
        running.wait(lambda: seen)
        assert service.last_message_received_at is not None
        assert before <= service.last_message_received_at <= datetime.now()


# ---- C11 -----------------------------------------------------------------------------------------------


def test_the_prefix_is_made_of_the_services_name(config: Path) -> None:
    """C11."""
    service = make(Plain, config)
    service.publish("a", "b")
    assert service.mqtt_client.message_queue == [("service/plain/a", "b")]
    assert service.mqtt_client.will == ("service/plain/online", "0")


def test_the_prefix_is_data_topic_where_that_is_set(
    write_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """C11: for publishing, handlers and the will."""
    heard: list[str] = []
    service = make(Plain, write_config(1883, "services:\n  plain:\n    data_topic: house/kitchen/"))
    service.add_handler("set", heard.append)
    service.mqtt_client.ensure_connected()
    assert service.data_topic_prefix == "house/kitchen/"
    assert service.willtopic == "house/kitchen/online"
    assert service.mqtt_client.will == ("house/kitchen/online", "0")
    assert set(service.mqtt_client.subscribed) == {"house/kitchen/enabled", "house/kitchen/set"}
    receive(service, "house/kitchen/set", "on")
    assert heard == ["on"]
    assert not [record for record in caplog.records if "data_topic" in record.getMessage()]


def test_a_prefix_without_a_slash_at_its_end_is_used_as_given_with_a_warning(
    write_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """C11: a warning, not a change."""
    service = make(Plain, write_config(1883, "services:\n  plain:\n    data_topic: house-"))
    assert service.data_topic_prefix == "house-"
    assert service.willtopic == "house-online"
    service.publish("a", "b")
    assert service.mqtt_client.message_queue == [("house-a", "b")]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len([record for record in warnings if "data_topic" in record.getMessage()]) == 1
