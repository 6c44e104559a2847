"""Each method that a service may override is called, on the engine's client and on a double (contract C5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import miqro
from services import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Broker, Observer
    from worlds import World

    Config = Callable[..., Path]


class S(miqro.Service):
    """Notes what was called."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


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
