"""How handlers are called, and when they are added (contract C12)."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, Mock, create_autospec

import pytest

import miqro
from services import DEADLINE, Running, make, receive

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


class Helper:
    """Belongs to a service, and is none."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def on_one(self, payload: str) -> None:
        self.seen.append(payload)

    def on_two(self, service: miqro.Service, payload: str) -> None:
        self.seen.append((service, payload))

    def anything(self, one: object, two: object) -> None: ...

    @classmethod
    def of_class(cls, service: Any, payload: str) -> None:
        service.seen.append((cls, payload))

    @staticmethod
    def static(service: Any, payload: str) -> None:
        service.seen.append(payload)

    def __call__(self, service: miqro.Service, payload: str, rest: str = "no rest") -> None:
        self.seen.append((service, payload, rest))


class OneArgument:
    """A callable object that takes only the payload."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def __call__(self, payload: str) -> None:
        self.seen.append(payload)


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


# ---- C12: what is called, and with what ----------------------------------------------------------------------


def test_a_bound_method_is_called_without_the_service(service: S) -> None:
    """C12: 1.x could not call it."""
    assert added(service, service.without) == [("x",)]


def test_a_bound_method_that_takes_the_service_gets_it(service: S) -> None:
    """C12: as in 1.x."""
    assert added(service, service.with_service) == [(service, "x")]


def test_a_bound_method_for_a_hash_is_called_with_the_rest(service: S) -> None:
    """C12."""
    assert added(service, service.without_rest, "a/#", to="a/b/c") == [("x", "b/c")]


def test_a_bound_method_for_a_hash_that_takes_the_service_gets_it(service: S) -> None:
    """C12."""
    assert added(service, service.with_service_and_rest, "a/#", to="a/b/c") == [(service, "x", "b/c")]


def test_a_bound_method_with_two_arguments_gets_service_and_payload_or_payload_and_rest(service: S) -> None:
    """C12: which of them is meant is said by the filter."""
    service.add_handler("plain", service.with_service)
    service.add_handler("hash/#", service.with_service)
    receive(service, "service/s/plain", "1")
    receive(service, "service/s/hash/b", "2")
    assert service.seen == [(service, "1"), ("2", "b")]


def test_a_bound_method_that_takes_anything_gets_the_service(service: S) -> None:
    """C12: its signature takes it."""
    service.add_handler("a", service.anything)
    service.add_handler("b/#", service.anything)
    receive(service, "service/s/a", "1")
    receive(service, "service/s/b/c", "2")
    assert service.seen == [(service, "1"), (service, "2", "c")]


def test_a_global_handler_is_called_in_the_same_ways(service: S) -> None:
    """C12."""
    service.add_global_handler("g/1", service.without)
    service.add_global_handler("g/2", service.with_service)
    service.add_global_handler("g/3/#", service.without_rest)
    service.add_global_handler("g/4/#", service.with_service_and_rest)
    for topic in ("g/1", "g/2", "g/3/r", "g/4/r"):
        receive(service, topic, "x")
    assert service.seen == [("x",), (service, "x"), ("x", "r"), (service, "x", "r")]


def test_lambdas_and_functions_are_called_with_and_without_the_service(service: S) -> None:
    """C12."""
    seen = service.seen

    def function(service: Any, payload: str, extra: int = 5) -> None:
        seen.append((service, payload, extra))

    service.add_handler("1", lambda payload: seen.append(payload))
    service.add_handler("2", lambda service, payload: seen.append((service, payload)))
    service.add_handler("3", lambda *args: seen.append(args))
    service.add_handler("4", function)
    service.add_handler("5/#", lambda payload, rest: seen.append((payload, rest)))
    service.add_handler("6/#", lambda service, payload, rest: seen.append((service, payload, rest)))
    for topic in ("1", "2", "3", "4", "5/r", "6/r"):
        receive(service, f"service/s/{topic}", "x")
    assert seen == ["x", (service, "x"), (service, "x"), (service, "x", 5), ("x", "r"), (service, "x", "r")]


def test_optional_arguments_make_room_for_the_service(service: S) -> None:
    """C12: "where its signature takes it"."""
    seen = service.seen
    service.add_handler("1", lambda payload, extra="none": seen.append((payload, extra)))
    service.add_handler("2", lambda payload, *, extra="none": seen.append((payload, extra)))
    service.add_handler("3", lambda payload, **extra: seen.append((payload, extra)))
    for topic in "123":
        receive(service, f"service/s/{topic}", "x")
    assert seen == [(service, "x"), ("x", "none"), ("x", {})]


def test_keyword_only_arguments_that_are_required_cannot_be_met(service: S) -> None:
    """C12."""
    with pytest.raises(TypeError):
        service.add_handler("a", lambda payload, *, needed: None)


def test_methods_of_other_objects_are_called(service: S) -> None:
    """C12: bound, of a class, static."""
    helper = Helper(service.seen)
    service.add_handler("1", helper.on_one)
    service.add_handler("2", helper.on_two)
    service.add_handler("3", Helper.of_class)
    service.add_handler("4", helper.static)
    for topic in "1234":
        receive(service, f"service/s/{topic}", "x")
    assert service.seen == ["x", (service, "x"), (Helper, "x"), "x"]


def test_callable_objects_are_called(service: S) -> None:
    """C12."""
    service.add_handler("1", Helper(service.seen))
    service.add_handler("2/#", Helper(service.seen))
    service.add_handler("3", OneArgument(service.seen))
    for topic in ("1", "2/r", "3"):
        receive(service, f"service/s/{topic}", "x")
    assert service.seen == [(service, "x", "no rest"), (service, "x", "r"), "x"]


def test_partials_are_called(service: S) -> None:
    """C12: by what is left of the signature."""
    seen = service.seen

    def note(name: str, *args: object) -> None:
        seen.append((name, *args))

    def exact(name: str, payload: str) -> None:
        seen.append((name, payload))

    def named(payload: str, name: str) -> None:
        seen.append((name, payload))

    service.add_handler("1", functools.partial(note, "any"))
    service.add_handler("2", functools.partial(exact, "exact"))
    service.add_handler("3", functools.partial(named, name="named"))
    service.add_handler("4", functools.partial(service.with_service, service))
    for topic in "1234":
        receive(service, f"service/s/{topic}", "x")
    assert seen == [("any", service, "x"), ("exact", "x"), ("named", "x"), (service, "x")]


def test_builtins_are_called(service: S) -> None:
    """C12: those that say what they take, and those that do not."""
    kept: dict[object, object] = {}
    service.add_handler("1", service.seen.append)
    service.add_handler("2", kept.setdefault)
    for topic in "12":
        receive(service, f"service/s/{topic}", "x")
    assert service.seen == ["x"]
    assert kept == {service: "x"}


def test_a_class_is_called(service: S) -> None:
    """C12: whatever can be called."""
    made: list[object] = []

    class Command:
        def __init__(self, payload: str) -> None:
            made.append(payload)

    service.add_handler("a", Command)
    receive(service, "service/s/a", "x")
    assert made == ["x"]


@pytest.mark.parametrize("mock", [Mock, MagicMock])
def test_mocks_are_called_with_the_service(service: S, mock: type[Mock]) -> None:
    """C12: they take anything."""
    handler = mock()
    service.add_handler("a", handler)
    receive(service, "service/s/a", "x")
    handler.assert_called_once_with(service, "x")


def test_a_mock_with_a_signature_is_called_by_that(service: S) -> None:
    """C12: as in tests of services."""
    handler = create_autospec(service.without)
    service.add_handler("a", handler)
    receive(service, "service/s/a", "x")
    handler.assert_called_once_with("x")


def test_wrapped_methods_are_called_by_the_signature_that_is_behind_the_wrapper(service: S) -> None:
    """C12: a wrapper that takes anything hands it on."""

    def loud(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return wrapper

    service.add_handler("1", loud(service.without))
    service.add_handler("2", loud(service.with_service))
    service.add_handler("3", loud(loud(service.without)))
    service.add_handler("4/#", functools.lru_cache(service.without_rest))
    for topic in ("1", "2", "3", "4/r"):
        receive(service, f"service/s/{topic}", "x")
    assert service.seen == [("x",), (service, "x"), ("x",), ("x", "r")]
    assert service.failure_count == 0


def test_a_type_error_inside_a_handler_is_no_reason_to_call_it_in_another_way(service: S) -> None:
    """C12: found out once, at registration."""
    calls: list[tuple[object, ...]] = []

    def handler(*args: object) -> None:
        calls.append(args)
        raise TypeError("handler() takes 1 positional argument but 2 were given")

    service.add_handler("a", handler)
    receive(service, "service/s/a", "x")
    assert calls == [(service, "x")]
    assert service.failure_count == 1


def test_the_signature_is_looked_at_once(service: S) -> None:
    """C12: at registration, not per message."""
    looks: list[int] = []

    class Watched:
        @property
        def __signature__(self) -> Any:
            import inspect

            looks.append(1)
            return inspect.Signature([inspect.Parameter("payload", inspect.Parameter.POSITIONAL_ONLY)])

        def __call__(self, *args: object) -> None:
            service.seen.append(args)

    service.add_handler("a", Watched())
    receive(service, "service/s/a", "1")
    before = len(looks)
    for payload in "23456":
        receive(service, "service/s/a", payload)
    assert service.seen == [("1",), ("2",), ("3",), ("4",), ("5",), ("6",)]
    assert len(looks) == before > 0


@pytest.mark.parametrize(
    ("topic", "handler"),
    [
        ("a", lambda: None),
        ("a", lambda service, payload, rest: None),
        ("a", lambda service, payload, rest, more: None),
        ("a/#", lambda payload: None),
        ("a/#", lambda service, payload, rest, more: None),
        ("a", None),
        ("a", "a string"),
        ("a", 5),
        ("a", functools.partial(Helper([]).anything, 1, 2)),
        ("a", [].sort),
    ],
)
@pytest.mark.parametrize("add", ["add_handler", "add_global_handler"])
def test_a_callable_that_fits_neither_way_is_a_type_error(
    service: S, add: str, topic: str, handler: Any
) -> None:
    """C12: where it is added, and nothing is added then."""
    before = list(service._all_handlers())
    with pytest.raises(TypeError, match="handler for '.*a") as error:
        getattr(service, add)(topic, handler)
    if callable(handler):
        assert ("rest_of_topic" in str(error.value)) == topic.endswith("#")
    assert list(service._all_handlers()) == before
    assert service.mqtt_client.subscribed == []


def test_a_handler_added_in_the_constructor_is_subscribed_to_on_connect(config: Path) -> None:
    """C12."""

    class Adds(S):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_handler("own", self.without)
            self.add_global_handler("global", self.without)

    service = make(Adds, config)
    assert service.mqtt_client.subscribed == []
    service.mqtt_client.ensure_connected()
    assert set(service.mqtt_client.subscribed) == {"service/s/own", "global", "service/s/enabled"}
    receive(service, "service/s/own", "1")
    receive(service, "global", "2")
    assert service.seen == [("1",), ("2",)]


def test_a_handler_added_while_connected_is_subscribed_to_at_once(service: S) -> None:
    """C12: and once only."""
    service.mqtt_client.ensure_connected()
    service.mqtt_client.subscribed.clear()
    service.add_handler("own", service.without)
    service.add_global_handler("global", service.without)
    assert service.mqtt_client.subscribed == ["service/s/own", "global"]


def test_a_filter_with_two_handlers_is_subscribed_to_once(config: Path) -> None:
    """C40: what is subscribed to twice is delivered twice by some brokers."""

    class Twice(S):
        @miqro.handle("a")
        def one(self, payload: str) -> None:
            self.seen.append("one")

        @miqro.handle_global("service/s/a")
        def two(self, payload: str) -> None:
            self.seen.append("two")

    requested: list[str] = []
    service = make(Twice, config)
    subscribe = service.mqtt_client.subscribe

    def watched(topic: str, *args: Any) -> Any:
        requested.append(topic)
        return subscribe(topic, *args)

    service.mqtt_client.subscribe = watched
    service.mqtt_client.ensure_connected()
    assert sorted(requested) == ["service/s/a", "service/s/enabled"]
    receive(service, "service/s/a", "x")
    assert service.seen == ["two", "one"]


def test_a_handler_added_by_a_handler_gets_the_next_message(service: S) -> None:
    """C12, C13: whatever was queued by then."""

    def first(payload: str) -> None:
        service.seen.append(("first", payload))
        if payload == "1":
            service.add_handler("a", lambda payload: service.seen.append(("second", payload)))
            service.add_global_handler("+/s/a", lambda payload: service.seen.append(("global", payload)))

    service.add_handler("a", first)
    receive(service, "service/s/a", "1", dispatch=False)
    receive(service, "service/s/a", "2")
    assert service.seen == [("first", "1"), ("global", "2"), ("first", "2"), ("second", "2")]


@pytest.mark.parametrize("how", ["append", "replace", "swap", "remove"])
def test_lists_of_handlers_that_are_changed_by_hand_count(service: S, how: str) -> None:
    """C4, C12: as in 1.x, which looked at them for every message."""

    def old(_service: object, payload: str) -> None:
        service.seen.append(("old", payload))

    def new(_service: object, payload: str) -> None:
        service.seen.append(("new", payload))

    service.add_handler("a", old)
    receive(service, "service/s/a", "1")
    if how == "append":
        service.mqtt_handlers.append(("a", new))
    elif how == "replace":
        service.mqtt_handlers = [("a", new)]
    elif how == "swap":
        service.mqtt_handlers[service.mqtt_handlers.index(("a", old))] = ("a", new)
    else:
        service.mqtt_handlers.remove(("a", old))
        service.mqtt_handlers.append(("b", old))
        service.mqtt_global_handlers.append(("service/s/a", new))
    receive(service, "service/s/a", "2")
    after = [("old", "2"), ("new", "2")] if how == "append" else [("new", "2")]
    assert service.seen == [("old", "1"), *after]


def test_a_changed_prefix_counts(service: S) -> None:
    """C4, C13: as in 1.x, where it was put before the topic for every message."""
    service.add_handler("a", service.without)
    receive(service, "service/s/a", "1")
    service.data_topic_prefix = "elsewhere/"
    receive(service, "elsewhere/a", "2")
    assert service.seen == [("1",), ("2",)]


def test_handlers_are_added_from_another_thread_while_messages_come(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C12: none is lost, none is called for what is not its own, and each gets the message for it."""
    count = 100

    class Busy(S):
        @miqro.handle("flood")
        def on_flood(self, payload: str) -> None:
            self.seen.append(payload)

    service = Busy(write_config(broker.port))
    heard: list[tuple[int, str]] = []
    with Running(service) as running:
        running.connected()
        stop = threading.Event()

        def flood() -> None:
            number = 0
            while not stop.is_set():
                observer.publish_many([("service/s/flood", str(number + i).encode()) for i in range(100)])
                number += 100

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            for number in range(count):
                add = service.add_global_handler if number % 2 else service.add_handler
                topic = f"service/s/n/{number}" if number % 2 else f"n/{number}"
                add(topic, functools.partial(lambda number, payload: heard.append((number, payload)), number))
            running.subscribed(count + 1)
            observer.publish_many(
                [(f"service/s/n/{number}", str(number).encode()) for number in range(count)]
            )
            running.wait(lambda: len(heard) >= count, "every new handler was called")
        finally:
            stop.set()
            flooding.join(DEADLINE)
        running.wait(
            lambda: len(service.seen) == int(service.seen[-1]) + 1 and service.seen[-1].endswith("99")
        )
    assert heard == [(number, str(number)) for number in range(count)]
    assert service.seen == [str(number) for number in range(len(service.seen))]
    assert service.failure_count == 0


def test_a_handler_that_adds_handlers_loses_none_of_the_messages_that_came_with_it(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C13: a batch that was routed before the new handler came is handled by the handlers there are then."""
    service = S(write_config(broker.port))
    gate, held = threading.Event(), threading.Event()

    def discover(payload: str, rest: str) -> None:
        service.seen.append(("discover", rest, payload))
        if payload == "0":
            held.set()
            assert gate.wait(DEADLINE)
            service.add_global_handler("devices/+/a", lambda payload: service.seen.append(("new", payload)))

    service.add_handler("last", service.without)
    service.add_global_handler("devices/#", discover)
    with Running(service) as running:
        running.connected()
        running.subscribed()
        observer.publish("devices/x/a", "0")
        assert held.wait(DEADLINE)
        observer.publish_many([("devices/x/a", str(n).encode()) for n in range(1, 50)])
        observer.publish("service/s/last", "end")
        gate.set()
        running.wait(lambda: service.seen[-1:] == [("end",)])
    expected: list[Any] = [("discover", "x/a", "0")]
    for number in range(1, 50):
        expected += [("discover", "x/a", str(number)), ("new", str(number))]
    assert service.seen == [*expected, ("end",)]


def test_a_service_of_the_broker_calls_bound_methods_in_both_ways(
    broker: Broker, observer: Observer, write_config: Callable[..., Path]
) -> None:
    """C12: on the engine as on a double."""
    service = S(write_config(broker.port))
    service.add_handler("1", service.without)
    service.add_handler("2", service.with_service)
    service.add_global_handler("g/#", service.without_rest)
    service.add_global_handler("h/#", service.with_service_and_rest)
    with Running(service) as running:
        running.connected()
        running.subscribed()
        for topic in ("service/s/1", "service/s/2", "g/r/s", "h"):
            observer.publish(topic, "x")
        running.wait(lambda: len(service.seen) == 4)
    assert service.seen == [("x",), (service, "x"), ("x", "r/s"), (service, "x", "")]


CHANGES: list[Callable[[list[Any], Any], object]] = [
    lambda handlers, new: handlers.append(new),
    lambda handlers, new: handlers.extend([new]),
    lambda handlers, new: handlers.insert(0, new),
    lambda handlers, new: handlers.__iadd__([new]),
    lambda handlers, new: handlers.__setitem__(0, new),
    lambda handlers, new: handlers.__setitem__(slice(0, 1), [new]),
]
REMOVALS: list[Callable[[list[Any], Any], object]] = [
    lambda handlers, old: handlers.remove(old),
    lambda handlers, old: handlers.pop(handlers.index(old)),
    lambda handlers, old: handlers.clear(),
    lambda handlers, old: handlers.__delitem__(handlers.index(old)),
    lambda handlers, old: handlers.__imul__(0),
    lambda handlers, old: handlers.__setitem__(slice(None), []),
]


@pytest.mark.parametrize("remove", REMOVALS)
@pytest.mark.parametrize("add", CHANGES)
@pytest.mark.parametrize("name", ["mqtt_handlers", "mqtt_global_handlers"])
def test_whatever_is_done_to_the_lists_is_followed(
    service: S, name: str, add: Callable[[list[Any], Any], object], remove: Callable[[list[Any], Any], object]
) -> None:
    """C4: the lists are the truth, also between two messages, and also one that takes their place."""
    service.mqtt_global_handlers.append(("other", service.anything))
    new = ("t", service.without)
    topic = "service/s/t" if name == "mqtt_handlers" else "t"
    receive(service, topic, "nobody")
    add(getattr(service, name), new)
    receive(service, topic, "one")
    remove(getattr(service, name), new)
    receive(service, topic, "nobody")
    setattr(service, name, [new])
    receive(service, topic, "two")
    getattr(service, name)[0] = ("u", service.without)
    receive(service, topic, "nobody")
    assert service.seen == [("one",), ("two",)]
