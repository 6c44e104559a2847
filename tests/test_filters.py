"""Which topics a handler is called for, and with what text (contract C13, C14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import miqro
from harness import wait_until
from services import DEADLINE, Running, ends_with, make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker, Observer


class S(miqro.Service):
    """Notes who was called, with what."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)

    def without(self, payload: str) -> None:
        self.seen.append((payload,))

    def with_service(self, service: miqro.Service, payload: str) -> None:
        self.seen.append((service, payload))

    def without_rest(self, payload: str, rest: str) -> None:
        self.seen.append((payload, rest))

    def with_service_and_rest(self, service: miqro.Service, payload: str, rest: str) -> None:
        self.seen.append((service, payload, rest))

    def anything(self, *args: object) -> None:
        self.seen.append(args)


@pytest.fixture
def service(config: Path) -> S:
    """A service on a double."""
    return make(S, config)


def added(service: S, handler: Callable[..., Any], topic: str = "a", *, to: str = "a") -> Any:
    """Add the handler for a topic, receive a message on it, return what was noted then."""
    service.add_handler(topic, handler)
    receive(service, f"service/s/{to}", "x")
    assert service.failure_count == 0, service.last_failure
    return service.seen


# ---- C13 -----------------------------------------------------------------------------------------------------

MATCHES = [
    ("a", "a", True, None),
    ("a", "b", False, None),
    ("a", "a/b", False, None),
    ("a/b", "a", False, None),
    ("a/b/c", "a/b/c", True, None),
    ("a/", "a", False, None),
    ("a/", "a/", True, None),
    ("/a", "/a", True, None),
    ("/a", "a", False, None),
    ("+", "a", True, None),
    ("+", "a/b", False, None),
    ("+", "/a", False, None),
    ("/+", "/a", True, None),
    ("+/+", "/a", True, None),
    ("+/b", "a/b", True, None),
    ("a/+", "a/b", True, None),
    ("a/+", "a/", True, None),
    ("a/+", "a", False, None),
    ("a/+/c", "a/b/c", True, None),
    ("a/+/c", "a/b/b/c", False, None),
    ("a/+/c", "a//c", True, None),
    ("#", "a", True, "a"),
    ("#", "a/b/c", True, "a/b/c"),
    ("#", "/", True, "/"),
    ("a/#", "a", True, ""),
    ("a/#", "a/", True, ""),
    ("a/#", "a/b", True, "b"),
    ("a/#", "a/b/c", True, "b/c"),
    ("a/#", "ab", False, None),
    ("a/#", "ab/c", False, None),
    ("a/+/#", "a/b", True, ""),
    ("a/+/#", "a/b/c/d", True, "c/d"),
    ("a/+/#", "a", False, None),
    ("+/#", "a", True, ""),
    ("+/#", "a/b", True, "b"),
    ("#", "$SYS/broker", False, None),
    ("+/broker", "$SYS/broker", False, None),
    ("+/#", "$SYS/broker", False, None),
    ("$SYS/#", "$SYS/broker/x", True, "broker/x"),
    ("$SYS/+", "$SYS/broker", True, None),
    ("a/+", "a/$b", True, None),
    ("a/#", "a/$b", True, "$b"),
    ("$share/g/a", "a", True, None),
    ("$share/g/a/#", "a/b/c", True, "b/c"),
    ("$share/g/+", "a", True, None),
    ("$share/g/a", "$share/g/a", False, None),
    ("$share/g/#", "$SYS/x", False, None),
    ("ä/ö", "ä/ö", True, None),
    ("ä/#", "ä/ö/ß", True, "ö/ß"),
    ("A", "a", False, None),
    ("a b", "a b", True, None),
]


@pytest.mark.parametrize(("topic_filter", "topic", "matches", "rest"), MATCHES)
def test_filters_match_as_in_mqtt(
    service: S, topic_filter: str, topic: str, matches: bool, rest: str | None
) -> None:
    """C13, C12: with the part of the topic that the `#` stands for."""
    service.add_global_handler(topic_filter, lambda *args: service.seen.append(args))
    receive(service, topic, "x")
    expected = (service, "x") if rest is None else (service, "x", rest)
    assert service.seen == ([expected] if matches else [])


def test_filters_match_on_the_broker_as_on_the_double(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C13: the same table, with the messages that a broker delivers. `$` topics are the broker's own."""
    service = S(write_config(broker.port))
    table = [case for case in MATCHES if not case[1].startswith("$")]
    ends: list[str] = []
    for index, (topic_filter, *_) in enumerate(table):
        service.add_global_handler(
            topic_filter, lambda *args, index=index: service.seen.append((index, *args[1:]))
        )
    service.add_handler("end", ends.append)
    got: list[list[Any]] = []
    topics = sorted({topic for _, topic, *_ in table})
    with Running(service) as running:
        running.connected()
        running.subscribed()
        for number, topic in enumerate(topics):
            observer.publish(topic, "x")
            observer.publish("service/s/end", str(number))
            running.wait(ends_with(ends, str(number)))
            got.append([call for call in service.seen if call[1] == "x"])
            service.seen.clear()
    for topic, calls in zip(topics, got, strict=True):
        # A broker may deliver a copy for each subscription: which handlers were called is what counts.
        expected = {
            (index, "x") if rest is None else (index, "x", rest)
            for index, (_, of, matches, rest) in enumerate(table)
            if matches and of == topic
        }
        assert {call for call in calls if table[call[0]][1] == topic} == expected


@pytest.mark.parametrize(
    "topic_filter",
    ["", "a/#/b", "#/a", "a#", "a/b#", "a+", "+a", "a/+b/c", "a\0b", "$share/g", "$share//a", "x" * 65536],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("connected", [False, True])
def test_an_invalid_filter_is_a_value_error_at_registration(
    service: S, topic_filter: str, connected: bool
) -> None:
    """C13: nothing is added then."""
    if connected:
        service.mqtt_client.ensure_connected()
    before = list(service._all_handlers()), list(service.mqtt_client.subscribed)
    with pytest.raises(ValueError, match="."):
        service.add_global_handler(topic_filter, service.anything)
    assert (list(service._all_handlers()), service.mqtt_client.subscribed) == before


def test_the_prefix_is_part_of_what_is_checked(service: S) -> None:
    """C13: what is empty below the prefix is a topic, `+` beside text is not."""
    service.add_handler("", service.without)
    receive(service, "service/s/", "x")
    assert service.seen == [("x",)]
    with pytest.raises(ValueError, match="#"):
        service.add_handler("a/#/b", service.without)


def test_every_matching_handler_runs_global_ones_first_each_in_order_of_registration(config: Path) -> None:
    """C13."""

    class Many(S):
        @miqro.handle("a/b")
        def own_exact(self, payload: str) -> None:
            self.seen.append("own exact")

        @miqro.handle("#")
        def own_hash(self, payload: str, rest: str) -> None:
            self.seen.append("own hash")

        @miqro.handle("a/+")
        def own_plus(self, payload: str) -> None:
            self.seen.append("own plus")

        @miqro.handle_global("service/#")
        def global_hash(self, payload: str, rest: str) -> None:
            self.seen.append("global hash")

        @miqro.handle_global("service/s/a/b")
        def global_exact(self, payload: str) -> None:
            self.seen.append("global exact")

    service = make(Many, config)
    service.add_handler("+/b", lambda payload: service.seen.append("own added"))
    service.add_global_handler("+/s/+/b", lambda payload: service.seen.append("global added"))
    service.add_handler("a/b", lambda payload: service.seen.append("own added exact"))
    receive(service, "service/s/a/b", "x")
    assert service.seen == [
        "global hash",
        "global exact",
        "global added",
        "own exact",
        "own hash",
        "own plus",
        "own added",
        "own added exact",
    ]


def test_the_same_handler_added_twice_runs_twice(service: S) -> None:
    """C13: each registration is one."""
    service.add_handler("a", service.without)
    service.add_handler("a", service.without)
    receive(service, "service/s/a", "x")
    assert service.seen == [("x",), ("x",)]


def test_a_shared_subscription_gets_messages_from_the_broker(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C13: the broker sends them under the topic they were published on."""
    service = S(write_config(broker.port))
    service.add_global_handler("$share/workers/jobs/#", service.without_rest)
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish("jobs/1", "x")
        running.wait(lambda: service.seen)
    assert service.seen == [("x", "1")]


# ---- C14 -----------------------------------------------------------------------------------------------------

PAYLOADS = [
    b"",
    b"plain",
    b" \t\n both ends \r\n",
    b"in  the   middle",
    "Grüße, 世界 🎉".encode(),
    b"\xff",
    b"a\xffb\xc3",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x8e",
    b"\x00nul\x00",
    "\u2003em space\u00a0".encode(),
    "\ufeffmark".encode(),
    b"\x1c\x1d\x1e\x1f\x85 control",
    "\x85\u2028line\u2029".encode(),
    bytes(range(256)),
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_the_payload_is_text(service: S, payload: bytes) -> None:
    """C14: UTF-8, malformed bytes replaced, white space stripped at both ends, as 1.x had it."""
    service.add_handler("a", service.seen.append)
    receive(service, "service/s/a", payload)
    assert service.seen == [payload.decode("utf-8", errors="replace").strip()]


def test_the_payload_is_the_same_text_from_a_broker(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C14."""
    service = S(write_config(broker.port))
    service.add_handler("a", service.seen.append)
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish_many([("service/s/a", payload) for payload in PAYLOADS])
        wait_until(lambda: len(service.seen) == len(PAYLOADS), DEADLINE, "all payloads came")
    assert service.seen == [payload.decode("utf-8", errors="replace").strip() for payload in PAYLOADS]


def test_a_payload_that_is_no_bytes_is_refused_where_it_comes_from(service: S) -> None:
    """C14, C45: a double that hands over text is told so, as in 1.x; the service is unharmed."""

    class Wrong:
        topic = "service/s/a"
        payload = "text"

    with pytest.raises((TypeError, AttributeError)):
        service._on_message(service.mqtt_client, None, Wrong())
    service.add_handler("a", service.seen.append)
    receive(service, "service/s/a", "x")
    assert service.seen == ["x"]
