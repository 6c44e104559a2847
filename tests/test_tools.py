"""`miqro.test.tools`: services under test without a broker (contract C60)."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from miqro.test import tools
from miqro.test.tools import (
    DummyMessage,
    DummyMQTTClient,
    DummyPublishInfo,
    DummyState,
    ReadOnlyDummyState,
    eventually,
    expect_next,
    reset_saved_state,
    run,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Lamp(miqro.Service):
    """A service with a bit of everything."""

    SERVICE_NAME = "lamp"
    USE_STATE_FILE = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.retained: list[bool] = []

    @miqro.handle("set")
    def set_state(self, payload: str) -> None:
        self.publish("state", payload.upper())
        self.publish("light", payload == "on", retain=True, qos=1)

    @miqro.handle("colour/#")
    def set_colour(self, payload: str, part: str) -> None:
        self.publish(f"colour_is/{part}", payload)

    @miqro.handle_global("sun/elevation")
    def follow_the_sun(self, payload: str) -> None:
        self.publish("brightness", float(payload) * 2)

    @miqro.handle("count")
    def count(self, payload: str) -> None:
        for number in range(int(payload)):
            self.publish("counted", number)
        self.publish("counting", "done")

    @miqro.handle("later")
    def answer_later(self, payload: str) -> None:
        def once(service: Any) -> bool:
            if time.monotonic() < due:
                return True
            service.publish("late", payload)
            return False

        due = time.monotonic() + 0.1
        self.add_loop(miqro.Loop(once, timedelta(milliseconds=20)))


class Clock(miqro.Service):
    """A service that only ticks."""

    SERVICE_NAME = "clock"
    ticks = 0

    @miqro.loop(milliseconds=50)
    def tick(self) -> None:
        self.ticks += 1
        self.publish("tick", self.ticks)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "miqro.yml"
    path.write_text("broker: {host: nowhere.invalid}\nservices: {lamp: {a: 1}, clock: {a: 1}}\n")
    return path


@pytest.fixture(autouse=True)
def _no_saved_state() -> Iterator[None]:
    reset_saved_state()
    yield
    reset_saved_state()


@pytest.fixture
def lamp(config: Path) -> Lamp:
    return Lamp(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)


@pytest.fixture
def clock(config: Path) -> Clock:
    return Clock(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)


def client_of(service: miqro.Service) -> DummyMQTTClient:
    client = service.mqtt_client
    assert isinstance(client, DummyMQTTClient)
    return client


# --- the client -----------------------------------------------------------------------------------


def test_a_fresh_double_is_unconnected_and_knows_the_will(lamp: Lamp) -> None:
    """C60, C40: nothing happens before the service is connected."""
    client = client_of(lamp)
    assert not client.connected
    assert client.subscribed == []
    assert client.will == ("service/lamp/online", "0")
    assert client.will.retain
    assert client.client_id == "lamp"
    assert client.connect_arguments["host"] == "nowhere.invalid"


def test_a_connected_double_has_the_subscriptions_and_the_announcement(lamp: Lamp) -> None:
    """C60, C40: as on a real connection."""
    client = client_of(lamp)
    client.ensure_connected()
    assert client.connected
    assert lamp.is_connected
    assert {"service/lamp/set", "service/lamp/colour/#", "sun/elevation"} <= set(client.subscribed)
    assert ("service/lamp/online", "1") in client.message_queue
    client.ensure_connected()
    assert client.message_queue.count(("service/lamp/online", "1")) == 1  # type: ignore[arg-type]


def test_a_lost_connection_is_told_to_the_service_and_stays_lost(lamp: Lamp) -> None:
    """C60: until the test connects again; then the subscriptions are made anew."""
    client = client_of(lamp)
    client.ensure_connected()
    client.simulate_disconnect()
    run(lamp, 0)
    assert not client.connected
    assert not lamp.is_connected
    assert lamp.disconnect_count == 1
    assert client.subscribed == []
    client.ensure_connected()
    assert lamp.is_connected
    assert "service/lamp/set" in client.subscribed


def test_a_dead_network_thread_makes_the_service_unhealthy(lamp: Lamp) -> None:
    """C60, C5: nothing but the health tells."""
    client_of(lamp).ensure_connected()
    assert lamp.mqtt_thread_alive()
    assert lamp.healthy()
    client_of(lamp).simulate_thread_death()
    assert not lamp.mqtt_thread_alive()
    assert not lamp.healthy()
    assert lamp.is_connected


def test_published_messages_are_pairs_that_know_how_they_were_published(lamp: Lamp) -> None:
    """C60: `message_queue` of (topic, text)."""
    send(lamp, "service/lamp/set", "on")
    state, light = client_of(lamp).message_queue
    assert state == ("service/lamp/state", "ON")
    topic, text = light
    assert (topic, text) == ("service/lamp/light", "1")
    assert (state.retain, state.qos) == (False, 0)
    assert (light.retain, light.qos, light.payload) == (True, 1, b"1")


def test_publishing_gives_an_info_that_is_done(lamp: Lamp) -> None:
    """C60, C36: also for those who await it."""
    info = lamp.publish("x", "y")
    assert isinstance(info, DummyPublishInfo)
    assert (info.rc, info.is_published()) == (0, True)
    assert info.mid > 0
    info.wait_for_publish(timeout=0)

    async def wait() -> object:
        return await info

    assert asyncio.run(wait()) is info


def test_the_double_takes_subscriptions_in_all_forms() -> None:
    """C60: one filter, a pair, a list of pairs; and forgets them."""
    client = DummyMQTTClient("x")
    client.subscribe("a")
    client.subscribe("b", 1)
    client.subscribe(("c", 2))
    client.subscribe([("d", 0), ("a", 1)])
    assert client.subscribed == ["a", "b", "c", "d"]
    client.unsubscribe("a")
    client.unsubscribe(["c", "d"])
    assert client.subscribed == ["b"]


def test_a_message_has_bytes_for_a_payload_and_may_be_retained() -> None:
    """C60: as a client hands it to a service."""
    message = DummyMessage("a/b", "Küche", retain=True)
    assert (message.topic, message.payload, message.retain) == ("a/b", "Küche".encode(), True)
    assert DummyMessage("a", b"\xff").payload == b"\xff"
    assert DummyMessage("a", None).payload == b""
    assert DummyMessage("a", 4.5).payload == b"4.5"
    assert DummyMessage("a").retain is False
    with pytest.raises(TypeError, match="not list"):
        DummyMessage("a", [])


# --- send and run ---------------------------------------------------------------------------------


def test_send_leaves_the_answer_and_nothing_older(lamp: Lamp) -> None:
    """C60: empties the queue, then delivers and dispatches."""
    lamp.publish("old", "news")
    send(lamp, "service/lamp/colour/red", " 255 ")
    assert client_of(lamp).message_queue == [("service/lamp/colour_is/red", "255")]


def test_send_takes_topics_in_full(lamp: Lamp) -> None:
    """C60: also those of others."""
    send(lamp, "sun/elevation", 21)
    assert client_of(lamp).message_queue == [("service/lamp/brightness", "42.0")]


def test_a_message_may_be_sent_as_retained(lamp: Lamp) -> None:
    """C60: `DummyMessage(..., retain)` reaches the service."""
    seen: list[tuple[str, bool]] = []
    original = client_of(lamp).on_message
    assert original is not None

    def note(client: object, userdata: object, message: DummyMessage) -> None:
        seen.append((message.topic, message.retain))
        original(client, userdata, message)

    client_of(lamp).on_message = note
    send(lamp, "service/lamp/set", "on", retain=True)
    send(lamp, "service/lamp/set", "off")
    assert seen == [("service/lamp/set", True), ("service/lamp/set", False)]


def test_run_lets_loops_tick_for_that_long_and_empties_the_queue(clock: Clock) -> None:
    """C60: advances, then empties the queue."""
    before = time.monotonic()
    run(clock, 0.32)
    assert 0.32 <= time.monotonic() - before < 1.0
    assert 4 <= clock.ticks <= 8
    assert client_of(clock).message_queue == []
    assert clock.MAX_LOOP_INTERVAL == 0.2
    assert "MAX_LOOP_INTERVAL" not in vars(clock)


def test_run_for_no_time_does_what_is_due(clock: Clock) -> None:
    """C60."""
    run(clock, 0)
    assert clock.ticks == 1


def test_run_ends_when_the_service_stops(clock: Clock) -> None:
    """C60: no test waits for a service that is gone."""
    clock.add_loop(miqro.Loop(lambda service: setattr(service, "stop", True), timedelta(seconds=5)))
    before = time.monotonic()
    run(clock, 30)
    assert time.monotonic() - before < 5


def test_a_service_with_another_client_is_refused(config: Path) -> None:
    """C60: with what to do about it."""

    class Other:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: None

        def __init__(self, client_id: str) -> None:
            pass

    service = Clock(add_config_file_path=config, mqtt_client_cls=Other)
    with pytest.raises(TypeError, match="mqtt_client_cls=DummyMQTTClient"):
        run(service, 0)


# --- expect_next ----------------------------------------------------------------------------------


def test_messages_already_queued_count(lamp: Lamp) -> None:
    """C60: the answer to `send` is there before anybody expects it."""
    send(lamp, "service/lamp/set", "on")
    assert expect_next(lamp, {"service/lamp/state": "m == 'ON'"}) == {"service/lamp/state": ["ON"]}


def test_the_service_runs_until_the_message_comes(lamp: Lamp) -> None:
    """C60: ends when all are met, not at the timeout."""
    send(lamp, "service/lamp/later", "x")
    before = time.monotonic()
    expect_next(lamp, {"service/lamp/late": "m == 'x'"}, timeout=10)
    assert 0.05 < time.monotonic() - before < 5


def test_the_very_next_message_must_match(lamp: Lamp) -> None:
    """C60: strict, and said at once."""
    send(lamp, "service/lamp/count", 3)
    before = time.monotonic()
    with pytest.raises(AssertionError) as caught:
        expect_next(lamp, {"service/lamp/counted": "m == '1'"}, timeout=10)
    assert time.monotonic() - before < 5
    text = str(caught.value)
    assert text.startswith("the next message on service/lamp/counted was to meet  m == '1'  but it was '0'\n")
    assert "  service/lamp/counted: next  m == '1'  (0 of 1 came)\n" in text
    assert text.endswith("s  service/lamp/counted  '0'")


def test_the_next_n_messages_must_match(lamp: Lamp) -> None:
    """C60: `[expr, n]`."""
    send(lamp, "service/lamp/count", 5)
    expect_next(lamp, {"service/lamp/counted": ["int(m) < 3", 3]})
    with pytest.raises(AssertionError, match=r"message 2 of 2 on service/lamp/counted .* but it was '4'"):
        expect_next(lamp, {"service/lamp/counted": ["m == '3'", 2]})


def test_eventually_skips_what_does_not_match(lamp: Lamp) -> None:
    """C60: `eventually(expr)`, also n times, also where the expression fails for what is skipped."""
    send(lamp, "service/lamp/count", 10)
    expect_next(lamp, {"service/lamp/counted": eventually("m == '4'")})
    met = expect_next(lamp, {"service/lamp/counted": [eventually("int(m) % 2 == 0 or None.x"), 2]})
    assert met == {"service/lamp/counted": ["6", "8"]}


def test_conditions_may_be_functions(lamp: Lamp) -> None:
    """C60: given the payload text."""
    send(lamp, "service/lamp/count", 3)
    expect_next(lamp, {"service/lamp/counted": eventually(lambda m: int(m) == 2)})


def test_expressions_may_use_json_and_comprehensions(lamp: Lamp) -> None:
    """C60: Python expressions over `m`."""
    lamp.publish("data", {"a": [1, 2]})
    expect_next(lamp, {"service/lamp/data": "json.loads(m)['a'] == [1, 2] and all(c in m for c in '12')"})


def test_several_topics_may_come_in_any_order(lamp: Lamp) -> None:
    """C60: each topic on its own."""
    send(lamp, "service/lamp/set", "off")
    expect_next(lamp, {"service/lamp/light": "m == '0'", "service/lamp/state": "m == 'OFF'"})


def test_no_message_may_come_before_the_others_are_met(lamp: Lamp) -> None:
    """C60: `None` beside others holds until then."""
    send(lamp, "service/lamp/count", 1)
    with pytest.raises(
        AssertionError, match="no message was to come on service/lamp/counted, but there came '0'"
    ):
        expect_next(lamp, {"service/lamp/counted": None, "service/lamp/counting": "m == 'done'"})
    lamp.publish("first", "1")
    lamp.publish("second", "2")
    expect_next(lamp, {"service/lamp/first": "m == '1'", "service/lamp/second": None})


def test_no_message_alone_holds_for_the_whole_window(lamp: Lamp) -> None:
    """C60: `None` where nothing else is expected."""
    send(lamp, "service/lamp/later", "x")
    with pytest.raises(AssertionError, match="no message was to come on service/lamp/late"):
        expect_next(lamp, {"service/lamp/late": None}, timeout=5)
    before = time.monotonic()
    expect_next(lamp, {"service/lamp/late": None}, timeout=0.2)
    assert time.monotonic() - before >= 0.2


def test_what_was_not_looked_at_stays_queued(lamp: Lamp) -> None:
    """C60: expectations one after the other do not eat each other's messages."""
    send(lamp, "service/lamp/count", 3)
    expect_next(lamp, {"service/lamp/counting": "m == 'done'"})
    expect_next(lamp, {"service/lamp/counted": "m == '0'"})
    expect_next(lamp, {"service/lamp/counted": "m == '1'"})
    assert client_of(lamp).message_queue == [("service/lamp/counted", "2")]


def test_silence_is_a_failure_that_shows_what_came_instead(lamp: Lamp) -> None:
    """C60: within the timeout."""
    send(lamp, "service/lamp/set", "on")
    before = time.monotonic()
    with pytest.raises(AssertionError) as caught:
        expect_next(
            lamp,
            {
                "service/lamp/state": "True",
                "service/lamp/never": eventually("m == 'x'"),
                "service/lamp/no": None,
            },
            timeout=0.2,
        )
    assert 0.2 <= time.monotonic() - before < 1.5
    assert [line.strip() for line in str(caught.value).splitlines()[:5]] == [
        "not met within 0.2 s",
        "Expected:",
        "service/lamp/state: next  True  (1 of 1 came)",
        "service/lamp/never: eventually  m == 'x'  (0 of 1 came)",
        "service/lamp/no: no message",
    ]
    assert "service/lamp/light  '1'" in str(caught.value)


def test_the_default_timeout_can_be_set(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """C60: `DEFAULT_TIMEOUT`, 1.5 s."""
    assert tools.DEFAULT_TIMEOUT == 1.5
    monkeypatch.setattr(tools, "DEFAULT_TIMEOUT", 0.1)
    with pytest.raises(AssertionError, match=r"not met within 0\.1 s"):
        expect_next(clock, {"never": "True"})


def test_an_expression_that_raises_says_so(lamp: Lamp) -> None:
    """C60: as a failure, with the payload."""
    send(lamp, "service/lamp/set", "on")
    with pytest.raises(AssertionError, match="'ON' made it raise ValueError: "):
        expect_next(lamp, {"service/lamp/state": "int(m)"})


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ("m ==", SyntaxError),
        (42, TypeError),
        (["m", "n"], TypeError),
        (["m"], TypeError),
        ([None, 2], TypeError),
        (["m", 0], ValueError),
    ],
)
def test_expectations_that_make_no_sense_are_refused_at_once(
    clock: Clock, wanted: object, error: type[Exception]
) -> None:
    """C60: not after the timeout."""
    with pytest.raises(error):
        expect_next(clock, {"service/clock/tick": wanted}, timeout=30)


def test_a_service_that_stops_is_not_waited_for(clock: Clock) -> None:
    """C60."""
    clock.stop = True
    with pytest.raises(AssertionError, match="the service stopped"):
        expect_next(clock, {"never": "True"}, timeout=30)


# --- state ----------------------------------------------------------------------------------------


def test_a_second_service_finds_what_the_first_one_saved(config: Path) -> None:
    """C60: `DummyState`, without a file."""

    def lamp_with(state_cls: type[miqro.State]) -> Lamp:
        return Lamp(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient, state_cls=state_cls)

    first = lamp_with(DummyState)
    first.state.set_path("a", "b", value=[1])
    first.state["unsaved"] = False
    first.state.save()
    first.state["unsaved"] = True
    first.state["a"]["b"].append(2)
    second = lamp_with(DummyState)
    assert second.state["a"]["b"] == [1]
    assert second.state["unsaved"] is False
    assert second.state.get_path("a", "c", default=3) == 3

    third = lamp_with(ReadOnlyDummyState)
    assert third.state.get_path("a", default=None) is None
    third.state["c"] = 1
    third.state.save()
    assert lamp_with(DummyState).state.get_path("c", default=None) == 1
    reset_saved_state()
    assert lamp_with(DummyState).state.get_path("c", default=None) is None


def test_services_of_different_names_do_not_share_their_state(config: Path) -> None:
    """C60: as with files."""

    class Other(Lamp):
        SERVICE_NAME = "other"

    first = Lamp(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)
    first.state["a"] = 1
    first.state.save()
    other = Other(add_config_file_path=config, mqtt_client_cls=DummyMQTTClient, state_cls=DummyState)
    assert other.state.get_path("a", default=None) is None
