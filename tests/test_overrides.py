"""Each method that a service may override is called, on the engine's client and on a double (contract C5, C55)."""

from __future__ import annotations

import os
import select
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import Script
from miqro.test.tools import DummyMQTTClient, DummyState
from services import DEADLINE, Running, ends_with, loop_of, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Broker, Observer
    from harness.observer import Message

    Config = Callable[..., Path]


@pytest.fixture
def config(write_config: Config) -> Path:
    """A configuration for services that run on a double."""
    return write_config(1883)


class S(miqro.Service):
    """Notes what was called."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


class World:
    """Where a service lives: what it is sent, and what it has said."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.kind: str = request.param
        self._write: Config = request.getfixturevalue("write_config")
        if self.kind == "engine":
            self._broker: Broker = request.getfixturevalue("broker")
            self._observer: Observer = request.getfixturevalue("observer")

    def make(self, cls: type[Any], more: str = "", **options: Any) -> Any:
        """Make a service that lives here."""
        if self.kind == "engine":
            self.service = cls(self._write(self._broker.port, more), state_cls=DummyState, **options)
        else:
            self.service = cls(
                self._write(1883, more), mqtt_client_cls=DummyMQTTClient, state_cls=DummyState, **options
            )
        return self.service

    def ready(self, running: Running) -> None:
        """Wait until the service's subscriptions stand."""
        if self.kind == "engine":
            running.subscribed()
        else:
            running.wait(lambda: self.service.mqtt_client.subscribed)

    def send(self, topic: str, payload: str) -> None:
        """Publish to the service."""
        if self.kind == "engine":
            self._observer.publish(topic, payload)
        else:
            receive(self.service, topic, payload, dispatch=False)

    def wait_for(self, topic: str, payload: str) -> Any:
        """Wait until the service has published this; return it, with its `qos` and `retain`."""
        if self.kind == "engine":
            message: Message = self._observer.wait_for(topic, payload)
            return message
        queue = self.service.mqtt_client.message_queue
        found: Any = _wait(lambda: [item for item in queue if item == (topic, payload)])
        return found[0]


def _wait(probe: Callable[[], Any]) -> Any:
    from harness import wait_until

    return wait_until(probe, DEADLINE, "it was published")


@pytest.fixture(params=["engine", "double"])
def world(request: pytest.FixtureRequest) -> World:
    """Both worlds, one after the other."""
    return World(request)


# ---- messages in -----------------------------------------------------------------------------------------------


def test_on_message_is_called_for_each_message_and_dispatches_through_super(world: World) -> None:
    """C5: with client, userdata and a message that has topic, payload and retain."""

    class Over(S):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        def _on_message(self, client: Any, userdata: Any, msg: Any) -> None:
            assert client is self.mqtt_client
            self.seen.append((msg.topic, bytes(msg.payload), bool(msg.retain), msg.qos >= 0))
            super()._on_message(client, userdata, msg)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        for payload in "123":
            world.send("service/s/a", payload)
        running.wait(lambda: service.seen[-1:] == ["3"])
    expected: list[Any] = []
    for payload in "123":
        expected += [("service/s/a", payload.encode(), False, True), payload]
    noted = [item for item in service.seen if isinstance(item, tuple)]
    assert noted == [item for item in expected if isinstance(item, tuple)]
    assert [item for item in service.seen if isinstance(item, str)] == ["1", "2", "3"]
    assert service.last_message_received_at is not None


def test_on_message_may_keep_a_message_from_the_handlers(world: World) -> None:
    """C5: without super, nothing is dispatched; it may look into what handlers never see."""

    class Over(S):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        def _on_message(self, client: Any, userdata: Any, msg: Any) -> None:
            if msg.payload == b"secret":
                self.seen.append("kept")
            else:
                super()._on_message(client, userdata, msg)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        for payload in ("1", "secret", "2"):
            world.send("service/s/a", payload)
        running.wait(lambda: "2" in service.seen)
    assert sorted(service.seen) == ["1", "2", "kept"]


def test_on_message_that_fails_is_a_counted_failure_and_the_next_one_comes(
    broker: Broker, observer: Observer, write_config: Config
) -> None:
    """C5, C16: on the engine; on a double it is raised to whoever delivers."""

    class Over(S):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        def _on_message(self, client: Any, userdata: Any, msg: Any) -> None:
            if msg.payload == b"bad":
                raise RuntimeError("bad")
            super()._on_message(client, userdata, msg)

    service = Over(write_config(broker.port))
    with Running(service) as running:
        running.connected()
        running.subscribed()
        for payload in ("1", "bad", "2"):
            observer.publish("service/s/a", payload)
        running.wait(lambda: service.seen == ["1", "2"])
        assert service.failure_count == 1


def test_on_message_that_is_assigned_to_the_client_is_called(world: World) -> None:
    """C5, C46: `self.mqtt_client.on_message = ...`, as services did that know paho."""

    class Over(S):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.mqtt_client.on_message = self.mine
            self.add_handler("a", lambda payload: self.seen.append(payload))

        def mine(self, client: Any, userdata: Any, msg: Any) -> None:
            self.seen.append(msg.payload.decode() + " mine")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        if world.kind == "engine":
            world.send("service/s/a", "1")
        else:
            service.mqtt_client.on_message(service.mqtt_client, None, type("M", (), {"payload": b"1"}))
        running.wait(lambda: service.seen)
    assert service.seen == ["1 mine"]


def test_all_handlers_is_asked_for_subscriptions_and_for_each_dispatch(world: World) -> None:
    """C5: it may add, drop and reorder; also while the service runs."""

    class Over(S):
        more = False

        def _all_handlers(self) -> Iterator[tuple[str, Any]]:
            yield "extra/+", self.extra
            yield from super()._all_handlers()
            if self.more:
                yield "extra/more", self.on_more

        def extra(self, payload: str) -> None:
            self.seen.append("extra " + payload)

        def on_more(self, payload: str) -> None:
            self.seen.append("more " + payload)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)
            self.more = True

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("extra/more", "1")
        running.wait(lambda: service.seen == ["extra 1"])
        world.send("service/s/a", "2")
        running.wait(lambda: service.seen[1:] == ["2"])
        world.send("extra/more", "3")
        running.wait(lambda: service.seen[2:] == ["extra 3", "more 3"])


def test_drain_incoming_is_called_by_run(world: World) -> None:
    """C5: before or after its own work it calls super; a loop that is always due does not keep it from that."""

    class Over(S):
        drains = 0

        @miqro.loop()
        def busy(self) -> None:
            pass

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append((payload, self.drains))

        def _drain_incoming(self) -> None:
            self.drains += 1
            super()._drain_incoming()

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        for payload in "123":
            world.send("service/s/a", payload)
        running.wait(lambda: len(service.seen) == 3)
    assert [payload for payload, _ in service.seen] == ["1", "2", "3"]
    assert all(drains > 0 for _, drains in service.seen)


def test_drain_incoming_without_super_keeps_the_messages(world: World) -> None:
    """C5: until somebody calls it; a gate that opens late."""

    class Over(S):
        open = True
        turned_away = 0

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        @miqro.loop(milliseconds=2)
        def tick(self) -> None:
            pass

        def _drain_incoming(self) -> None:
            if self.open:
                super()._drain_incoming()
            else:
                self.turned_away += 1

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        service.open = False
        running.wait(lambda: service.turned_away)
        for payload in "123":
            world.send("service/s/a", payload)
        before = service.turned_away
        running.wait(lambda: service.turned_away > before + 5)
        assert service.seen == []
        service.open = True
        running.wait(lambda: len(service.seen) == 3)
    assert service.seen == ["1", "2", "3"]


def test_handle_message_and_on_enable_are_called(world: World) -> None:
    """C5, C17, C18."""

    class Over(S):
        @miqro.handle_global("x/+")
        def on_x(self, payload: str) -> None:
            self.seen.append("x")

        def _all_handlers(self) -> Iterator[tuple[str, Any]]:
            yield from super()._all_handlers()

        def _on_connect(self, client: Any, userdata: Any, flags: Any, rc: int) -> None:
            super()._on_connect(client, userdata, flags, rc)
            client.subscribe("unhandled")

        def handle_message(self, topic: str, payload: str) -> bool:
            self.seen.append((topic, payload))
            return True

        def _on_enable(self, payload: str) -> None:
            self.seen.append(("enable", payload))
            super()._on_enable(payload)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        if world.kind == "engine":
            running.subscribed(2)
        world.send("unhandled", "1")
        world.send("service/s/enabled", "0")
        world.send("unhandled", "2")
        world.send("service/s/enabled", "1")
        running.wait(lambda: ("enable", "1") in service.seen)
    assert service.seen == [("unhandled", "1"), ("enable", "0"), ("enable", "1")]


# ---- the connection ----------------------------------------------------------------------------------------------


def test_on_connect_and_on_disconnect_are_called_with_what_paho_gives(world: World) -> None:
    """C5: client, userdata, flags, rc; client, userdata, rc."""

    class Over(S):
        def _on_connect(self, client: Any, userdata: Any, flags: Any, rc: int) -> None:
            self.seen.append(("connect", client is self.mqtt_client, userdata, dict(flags), rc))
            super()._on_connect(client, userdata, flags, rc)

        def _on_disconnect(self, client: Any, userdata: Any, rc: int) -> None:
            self.seen.append(("disconnect", client is self.mqtt_client, userdata, rc))
            super()._on_disconnect(client, userdata, rc)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
    assert service.seen == [
        ("connect", True, None, {"session present": 0}, 0),
        ("disconnect", True, None, 0),
    ]


def test_on_connect_without_super_subscribes_and_greets_as_it_likes(world: World) -> None:
    """C5: what it publishes goes out, what it subscribes to comes in, and the service goes on."""

    class Over(S):
        MQTT_ONLINE_UPDATE_INTERVAL = 0.02

        def _on_connect(self, client: Any, userdata: Any, flags: Any, rc: int) -> None:
            for topic, _ in self._all_handlers():
                client.subscribe(topic)
            self.publish("hello", "world")

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.wait_for("service/s/hello", "world")
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
        # The heartbeat comes all the same, as in 1.x.
        world.wait_for("service/s/online", "1")
        assert service.failure_count == 0


def test_publish_ha_discovery_is_called_on_connect(world: World) -> None:
    """C5: after the greeting."""

    class Over(S):
        def _publish_ha_discovery(self) -> None:
            super()._publish_ha_discovery()
            self.publish("discovery/mine", "x", retain=True, global_=True)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.wait_for("discovery/mine", "x")


@pytest.mark.parametrize("takes_argument", [True, False])
def test_update_online_status_is_the_heartbeat(world: World, takes_argument: bool) -> None:
    """C5: it may be replaced, and called with super."""

    class WithArgument(S):
        MQTT_ONLINE_UPDATE_INTERVAL = 0.01

        def _update_online_status(self, _: object = None) -> None:
            super()._update_online_status(_)
            self.publish("beat", "x")

    class Without(S):
        MQTT_ONLINE_UPDATE_INTERVAL = 0.01

        def _update_online_status(self) -> None:  # type: ignore[override]
            self.publish("beat", "x")

    service = world.make(WithArgument if takes_argument else Without)
    with Running(service) as running:
        world.ready(running)
        world.wait_for("service/s/beat", "x")
        assert service.failure_count == 0


# ---- publishing --------------------------------------------------------------------------------------------------


def test_publish_is_the_way_of_everything_that_a_service_says(world: World) -> None:
    """C5: an override sees it all, with the options, and what it makes of it goes out."""

    class Over(S):
        def publish(self, ext: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
            self.seen.append((ext, message, args, kwargs))
            if isinstance(message, str):
                message = message.upper()
            return super().publish(ext, message, *args, **kwargs)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        service.publish("1", "text", retain=True)
        service.publish_json("2", {"a": "x"}, qos=1)
        service.publish_json_keys({"3": "y", "4": {"5": "z"}, "6": ["w"]})
        service.publish("7", {"b": "v"})
        for topic, payload in [
            ("1", "TEXT"),
            ("2", '{"A": "X"}'),
            ("3", "Y"),
            ("4/5", "Z"),
            ("6", '["W"]'),
            ("7", '{"B": "V"}'),
        ]:
            world.wait_for(f"service/s/{topic}", payload)
    called = [ext for ext, *_ in service.seen if ext != "service/s/online"]
    assert called == ["1", "2", "3", "4/5", "6", "6", "7", "7"]
    assert [kwargs["qos"] for ext, _, _, kwargs in service.seen if ext == "2"] == [1]


def test_publish_json_is_the_way_of_dicts_and_lists(world: World) -> None:
    """C5: a dict goes through `publish_json`, which goes through `publish`."""

    class Over(S):
        def publish_json(self, ext: Any, message_json: Any, *args: Any, **kwargs: Any) -> Any:
            self.seen.append(ext)
            return super().publish_json(ext, {"wrapped": message_json}, *args, **kwargs)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        service.publish("1", {"a": 1})
        service.publish("2", [1.0])
        service.publish_json("3", 5)
        service.publish_json_keys({"4": [1], "5": 6})
        world.wait_for("service/s/1", '{"wrapped": {"a": 1}}')
        world.wait_for("service/s/2", '{"wrapped": [1.0]}')
        world.wait_for("service/s/3", '{"wrapped": 5}')
        world.wait_for("service/s/4", '{"wrapped": [1]}')
        world.wait_for("service/s/5", "6")
    assert service.seen == ["1", "2", "3", "4"]


def test_publish_json_keys_calls_itself_for_nested_dicts(world: World) -> None:
    """C5."""

    class Over(S):
        def publish_json_keys(self, message_dict: Any, ext: Any = None, *args: Any, **kwargs: Any) -> Any:
            self.seen.append(ext)
            return super().publish_json_keys(message_dict, ext, *args, **kwargs)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        assert len(service.publish_json_keys({"a": {"b": {"c": 1}}, "d": 2})) == 2
        world.wait_for("service/s/a/b/c", "1")
        world.wait_for("service/s/d", "2")
    assert service.seen == [None, "a", "a/b"]


def test_round_floats_is_asked_before_json_is_made(world: World) -> None:
    """C5: with and without super."""

    class Over(S):
        def _round_floats(self, o: object) -> object:
            if isinstance(o, float):
                return int(o)
            return super()._round_floats(o)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        service.publish("1", {"a": 1.5, "b": [2.5, {"c": 3.5}]})
        world.wait_for("service/s/1", '{"a": 1, "b": [2, {"c": 3}]}')


# ---- handlers and loops ------------------------------------------------------------------------------------------


def test_add_handler_add_global_handler_and_add_loop_are_the_way_in(config: Path) -> None:
    """C5: entities with callbacks, and the loops that are prepared, go through them."""

    class Over(S):
        def add_handler(self, topic: str, handler: Any) -> None:
            self.seen.append(("handler", topic))
            super().add_handler("sub/" + topic, handler)

        def add_global_handler(self, topic: str, handler: Any) -> None:
            self.seen.append(("global", topic))
            super().add_global_handler("all/" + topic, handler)

        def add_loop(self, loop: miqro.Loop) -> miqro.Loop:
            self.seen.append(("loop", str(loop)))
            return super().add_loop(loop)

        @miqro.loop(seconds=1000)
        def tick(self) -> None: ...

        def on_command(self, payload: str) -> None:
            self.seen.append(payload)

    service = make(Over, config)
    assert service.seen == [("loop", "Loop(_update_online_status)"), ("loop", "Loop(tick)")]
    service.seen.clear()
    device = miqro.ha_sensors.Device(service, "lamp")
    miqro.ha_sensors.Button(
        device, "press", command_topic_postfix="press", command_callback=service.on_command
    )
    service.add_global_handler("g", service.on_command)
    receive(service, "service/s/sub/press", "pressed")
    receive(service, "all/g", "1")
    assert service.seen == [("handler", "press"), ("global", "g"), "pressed", "1"]


def test_create_loops_may_add_its_own_or_leave_all_out(world: World) -> None:
    """C5."""

    class Adds(S):
        def _create_loops(self) -> None:
            super()._create_loops()
            self.add_loop(miqro.Loop(lambda: self.publish("mine", "x"), timedelta(milliseconds=5)))

    service = world.make(Adds)
    with Running(service) as running:
        world.ready(running)
        world.wait_for("service/s/mine", "x")

    class Empty(S):
        def _create_loops(self) -> None:
            pass

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

    service = world.make(Empty)
    with Running(service) as running:
        running.connected()
        if world.kind == "engine":
            running.subscribed()
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
    assert not service.LOOPS


# ---- configuration -----------------------------------------------------------------------------------------------


def test_read_config_may_come_from_elsewhere(config: Path) -> None:
    """C5: with nothing of ours; what it sets is used."""

    class Over(S):
        def _read_config(self, path: Any = None) -> None:
            self.config = {"broker": {"host": "example.invalid", "port": 1234}, "auth": {"username": "me"}}
            self.service_config = {"answer": 42}
            self.data_topic_prefix = "mine/"
            self.willtopic = "mine/alive"

    service = Over(mqtt_client_cls=DummyMQTTClient)
    client = service.mqtt_client
    assert client.will == ("mine/alive", "0")
    assert client.connect_arguments["host"] == "example.invalid"
    assert client.connect_arguments["port"] == 1234
    assert client.credentials["username"] == "me"
    service.publish("a", "b")
    assert client.message_queue == [("mine/a", "b")]


def test_read_config_may_change_what_was_read(world: World) -> None:
    """C5: with super."""

    class Over(S):
        def _read_config(self, path: Any = None) -> None:
            super()._read_config(path)
            self.data_topic_prefix = "changed/"
            self.willtopic = "changed/online"

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.wait_for("changed/online", "1")
        world.send("changed/a", "1")
        world.wait_for("changed/echo", "1")
    world.wait_for("changed/online", "0")


def test_prepare_logger_is_called_first_and_may_do_nothing_but_set_the_loggers(config: Path) -> None:
    """C5."""
    import logging

    class Over(S):
        def _prepare_logger(self, level: int | str) -> None:
            self.seen.append(level)
            self.log = logging.getLogger("mine")
            self.mqtt_log = logging.getLogger("mine.mqtt")

    service = Over(config, "WARNING", DummyMQTTClient)
    assert service.seen[0] == "WARNING"
    assert service.log.name == "mine"
    receive(service, "service/s/enabled", "0")
    assert service.enabled is False


def test_make_tls_config_makes_what_the_client_is_given(write_config: Config) -> None:
    """C5: it gets the section, and returns the arguments of `tls_set`."""

    class Over(S):
        def _make_tls_config(self, section: dict[str, Any]) -> dict[str, Any]:
            self.seen.append(section)
            return {"ca_certs": "/mine", "insecure": "perhaps"}

    service = make(Over, write_config(1883, "tls:\n  ca_certs: /theirs\n"))
    assert service.seen == [{"ca_certs": "/theirs"}]
    assert service.mqtt_client.tls_arguments == {"ca_certs": "/mine", "insecure": "perhaps"}


# ---- health --------------------------------------------------------------------------------------------------------


def test_note_failure_is_told_of_every_failure(world: World) -> None:
    """C5: of handlers, loops and what cannot be published."""

    class Over(S):
        def note_failure(self, text: str) -> None:
            super().note_failure(text)
            self.seen.append(text)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            raise RuntimeError("from the handler")

        @miqro.loop(seconds=1000)
        def tick(self) -> None:
            raise RuntimeError("from the loop")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        running.wait(lambda: len(service.seen) == 2)
        service.publish("a/#", "x")
    assert "from the loop" in service.seen[0]
    assert "from the handler" in service.seen[1]
    assert "a/#" in service.seen[2]
    assert service.failure_count == 3


def test_mqtt_thread_alive_is_part_of_healthy(world: World) -> None:
    """C5: and both may be overridden."""

    class Over(S):
        alive = True

        def mqtt_thread_alive(self) -> bool:
            return self.alive and super().mqtt_thread_alive()

        def healthy(self) -> bool:
            self.seen.append("asked")
            return super().healthy()

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        running.wait(service.healthy)
        service.alive = False
        assert not service.healthy()
    assert service.seen


def test_run_may_be_wrapped(world: World) -> None:
    """C5: to set up and to clean up."""

    class Over(S):
        def run(self) -> None:
            self.seen.append("before")
            try:
                super().run()
            finally:
                self.seen.append("after")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        assert service.seen == ["before"]
    assert service.seen == ["before", "after"]


# ---- C55: waiting for something else -----------------------------------------------------------------------------


class Terminal:
    """A serial line: a pseudo-terminal, of which the service has one end."""

    def __init__(self) -> None:
        self.device, self.line = os.openpty()
        import tty

        tty.setraw(self.line)

    def say(self, text: str) -> None:
        """Have the device send this."""
        os.write(self.device, text.encode())

    def close(self) -> None:
        os.close(self.device)
        os.close(self.line)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A serial line."""
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.mark.parametrize("interval", [0.02, 100_000.0])
def test_wait_for_work_may_wait_for_a_serial_line(world: World, terminal: Terminal, interval: float) -> None:
    """C55, C5: messages, loops and the stop come nevertheless, and what the line says at once.

    Where nothing but the line wakes it, the line has to: messages then wait for that.
    """

    class Over(S):
        MAX_LOOP_INTERVAL = interval

        def _wait_for_work(self, timeout: float | None) -> None:
            assert timeout is not None
            assert timeout <= self.MAX_LOOP_INTERVAL
            ready, _, _ = select.select([terminal.line], [], [], timeout)
            if ready:
                self.seen.append(os.read(terminal.line, 1).decode())

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append("message " + payload)

    service = world.make(Over)
    with Running(service) as running:
        if interval < 1:
            world.ready(running)
            world.send("service/s/a", "1")
            running.wait(lambda: "message 1" in service.seen)
        for character in "xyz":
            terminal.say(character)
            running.wait(ends_with(service.seen, character))
        service.stop = True
        terminal.say("!")


def test_wait_for_work_may_sleep_a_little_and_call_super(world: World) -> None:
    """C55, C5."""

    class Over(S):
        def _wait_for_work(self, timeout: float | None) -> None:
            self.seen.append("waits")
            super()._wait_for_work(timeout)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        @miqro.loop(milliseconds=2)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        running.wait(lambda: "1" in service.seen)
        running.wait(lambda: service.seen.count("tick") > 5)
    assert "waits" in service.seen


def test_wait_for_work_may_wake_the_service_from_a_descriptor_of_its_own(world: World) -> None:
    """C5: what it is given is how long the service has nothing to do."""

    class Over(S):
        MAX_LOOP_INTERVAL = 100.0

        def _wait_for_work(self, timeout: float | None) -> None:
            self.seen.append(timeout)
            super()._wait_for_work(0.0)

        @miqro.loop(seconds=50)
        def tick(self) -> None: ...

    service = world.make(Over)
    with Running(service) as running:
        running.wait(lambda: len(service.seen) > 3)
    assert all(0 < timeout <= 50 for timeout in service.seen)


def test_loop_step_may_read_a_serial_line_that_blocks(world: World, terminal: Terminal) -> None:
    """C55: the deprecated way: the whole step is its own, and it gets its messages nevertheless."""

    class Over(S):
        def _loop_step(self) -> None:
            ready, _, _ = select.select([terminal.line], [], [], 0.01)
            if ready:
                self.publish("line", os.read(terminal.line, 100).decode())

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

        @miqro.loop(milliseconds=1)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
        terminal.say("hello")
        world.wait_for("service/s/line", "hello")
    assert service.seen == [], "it is the step that would have called the loops"


def test_loop_step_may_run_the_loops_as_1x_did(world: World) -> None:
    """C55: by hand, over `LOOPS`, with `run_if_needed` and `get_remaining`."""

    class Over(S):
        def _loop_step(self) -> None:
            assert self.LOOPS is not None
            for loop in self.LOOPS:
                loop.run_if_needed(self)
            threading.Event().wait(0.002)

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

        @miqro.loop(milliseconds=4)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
        running.wait(lambda: len(service.seen) > 5)


def test_loop_step_may_call_super(world: World) -> None:
    """C55: all of a service goes on, and it ends when it is told to."""

    class Over(S):
        def _loop_step(self) -> None:
            super()._loop_step()
            self.steps = getattr(self, "steps", 0) + 1

        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.publish("echo", payload)

        @miqro.loop(milliseconds=4)
        def tick(self) -> None:
            self.seen.append("tick")

    service = world.make(Over)
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        world.wait_for("service/s/echo", "1")
        running.wait(lambda: len(service.seen) > 5)
    assert service.steps > 1


def test_an_exception_of_an_overridden_step_ends_run_and_the_service_says_goodbye(world: World) -> None:
    """C55: as in 1.x, where the supervisor started it again; nobody thinks that it is online."""

    class Over(S):
        def _loop_step(self) -> None:
            if self.is_connected:
                raise OSError("the line is cut")

    service = world.make(Over)
    running = Running(service)
    running.thread.start()
    with pytest.raises(OSError, match="the line is cut"):
        running.join()
    world.wait_for("service/s/online", "0")


# ---- methods that are set on the instance ------------------------------------------------------------------------


def test_methods_that_are_set_on_the_instance_are_honoured(world: World) -> None:
    """C5: tests and plugins do that."""

    class Over(S):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

    service = world.make(Over)
    drained: list[int] = []
    drain = service._drain_incoming

    def counted() -> None:
        drained.append(1)
        drain()

    service._drain_incoming = counted
    service._round_floats = lambda o: {"rounded": o}
    failures: list[str] = []
    service.note_failure = failures.append
    with Running(service) as running:
        world.ready(running)
        world.send("service/s/a", "1")
        running.wait(lambda: "1" in service.seen)
        service.publish_json("x", 1.5)
        world.wait_for("service/s/x", '{"rounded": 1.5}')
        service.publish("bad/+", 1)
    assert drained
    assert len(failures) == 1


# ---- in a process of its own --------------------------------------------------------------------------------------

BLOCKING = """
    import os, signal, sys, threading, time
    import warnings
    warnings.simplefilter("ignore")
    import miqro

    line, device = os.openpty()

    class Reader(miqro.Service):
        SERVICE_NAME = "reader"

        def {method}(self, *timeout):
            try:
                text = os.read(line, 100)
            except InterruptedError:
                return
            print("read", text.decode(), flush=True)

        @miqro.handle("say")
        def say(self, payload):
            os.write(device, payload.encode())

    service = Reader("miqro.yml")
    threading.Timer(0.01, os.write, (device, b"first")).start()
    service.run()
"""


@pytest.mark.parametrize("method", ["_wait_for_work", "_loop_step"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_service_that_blocks_in_a_read_of_its_own_ends_on_a_signal(
    broker: Broker, observer: Observer, write_config: Config, tmp_path: Path, method: str, number: str
) -> None:
    """C55, C40: with 0 on its will topic, by itself, and within the time that is given to it."""
    import signal

    write_config(broker.port)
    with Script(tmp_path, BLOCKING.format(method=method)) as script:
        script.wait_out("read first")
        script.signal(getattr(signal, number))
        result = script.wait()
    assert result.returncode == (0 if number == "SIGTERM" else 130)
    assert "panicked" not in result.err


def test_a_loop_of_a_service_may_be_found_by_its_function(config: Path) -> None:
    """C4, C5: how services of 1.x restarted a loop."""

    class Over(S):
        @miqro.loop(seconds=1000)
        def tick(self) -> None:
            self.seen.append("tick")

        def again(self) -> None:
            for loop in self.LOOPS or ():
                if loop.fn is vars(type(self))["tick"].fn:
                    loop.restart()

    service = make(Over, config)
    service.MAX_LOOP_INTERVAL = 0.0
    service._loop_step()
    service._loop_step()
    service.again()
    service._loop_step()
    assert service.seen == ["tick", "tick"]
    assert loop_of(service, "tick").fn is vars(Over)["tick"].fn
