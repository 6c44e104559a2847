"""Overrides of what sets a service up, and of what tells how it is (contract C5)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import miqro
from miqro.test.tools import DummyMQTTClient
from services import Running, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worlds import World

    Config = Callable[..., Path]


class S(miqro.Service):
    """Notes what was called."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


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
