"""The decorators, and how what they mark is called (contract C10, C12, C19)."""

from __future__ import annotations

import functools
import inspect
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import miqro
from services import make, receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Base(miqro.Service):
    """Notes who was called, with what."""

    SERVICE_NAME = "s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwargs)


def own(cls: type[miqro.Service]) -> list[str]:
    """The topics of a class's own handlers."""
    return [topic for topic, _ in cls.CLASS_MQTT_HANDLERS]


def loops(service: miqro.Service) -> list[tuple[str, timedelta]]:
    """Names and intervals of a service's loops, without the heartbeat."""
    return [
        (loop.fn.__name__, loop.interval)
        for loop in service.LOOPS or ()
        if loop.fn.__name__ != "_update_online_status"
    ]


# ---- C10: one decorator ----------------------------------------------------------------------------------


def test_handle_subscribes_below_the_prefix_and_handle_global_to_the_topic(config: Path) -> None:
    """C10."""

    class S(Base):
        @miqro.handle("a/b")
        def on_own(self, payload: str) -> None:
            self.seen.append(("own", payload))

        @miqro.handle_global("a/b")
        def on_global(self, payload: str) -> None:
            self.seen.append(("global", payload))

    service = make(S, config)
    service.mqtt_client.ensure_connected()
    assert set(service.mqtt_client.subscribed) == {"a/b", "service/s/a/b", "service/s/enabled"}
    receive(service, "service/s/a/b", "1")
    receive(service, "a/b", "2")
    assert service.seen == [("own", "1"), ("global", "2")]


def test_a_decorated_name_is_a_method_on_the_instance(config: Path) -> None:
    """C10: 1.x left an object that could not be called."""

    class S(Base):
        @miqro.handle("a/#")
        def on_a(self, payload: str, rest: str = "none") -> str:
            """Docstring of on_a."""
            return f"{payload} {rest} {len(self.seen)}"

        @miqro.loop(seconds=5)
        def tick(self) -> str:
            return "tick"

    service = make(S, config)
    assert service.on_a("x") == "x none 0"
    assert service.on_a(payload="x", rest="y") == "x y 0"
    assert service.tick() == "tick"
    assert service.on_a.__name__ == "on_a"
    assert service.on_a.__doc__ == "Docstring of on_a."
    assert inspect.ismethod(service.on_a)
    assert service.on_a.__self__ is service
    assert list(inspect.signature(service.on_a).parameters) == ["payload", "rest"]


def test_a_decorated_name_on_the_class_has_fn_and_can_be_called(config: Path) -> None:
    """C10: `S.on_a.fn` is the function, as in 1.x; `S.on_a(service, payload)` works too."""

    def on_a(self: Any, payload: str = "") -> str:
        return payload * 2

    class S(Base):
        decorated = miqro.handle("a")(on_a)
        ticking = miqro.loop(seconds=1)(on_a)
        everywhere = miqro.handle_global("a")(on_a)

    service = make(S, config)
    for name in ("decorated", "ticking", "everywhere"):
        assert getattr(S, name).fn is on_a
        assert getattr(S, name)(service, "x") == "xx"


def test_a_handler_may_call_other_handlers_and_super(config: Path) -> None:
    """C10: like any method."""

    class Parent(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(("parent", payload))

    class Child(Parent):
        @miqro.handle("b")
        def on_b(self, payload: str) -> None:
            self.on_a("from b " + payload)

        def on_a(self, payload: str) -> None:
            super().on_a("from child " + payload)

    service = make(Child, config)
    receive(service, "service/s/b", "1")
    assert service.seen == [("parent", "from child from b 1")]


def test_a_decorated_method_can_be_replaced_on_the_instance(config: Path) -> None:
    """C10: as tests do; who calls by name gets the replacement."""

    class S(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> str:
            return "original"

    service = make(S, config)
    service.on_a = lambda payload: "replaced"  # type: ignore[method-assign]
    assert service.on_a("x") == "replaced"
    assert make(S, config).on_a("x") == "original"


def test_decorators_of_loops_take_what_timedelta_takes(config: Path) -> None:
    """C50: and a timedelta itself, which the examples of 1.x could not."""

    class S(Base):
        @miqro.loop(seconds=10)
        def a(self) -> None: ...

        @miqro.loop(0, 5)
        def b(self) -> None: ...

        @miqro.loop(minutes=1, milliseconds=500)
        def c(self) -> None: ...

        @miqro.loop(timedelta(hours=2))
        def d(self) -> None: ...

        @miqro.loop()
        def e(self) -> None: ...

    assert loops(make(S, config)) == [
        ("a", timedelta(seconds=10)),
        ("b", timedelta(seconds=5)),
        ("c", timedelta(minutes=1, milliseconds=500)),
        ("d", timedelta(hours=2)),
        ("e", timedelta(0)),
    ]


@pytest.mark.parametrize("arguments", [{"seconds": -1}, {"microseconds": -1}, {"minutes": 1, "seconds": -61}])
def test_a_negative_interval_is_refused_where_it_is_written(arguments: dict[str, float]) -> None:
    """C51."""
    with pytest.raises(ValueError, match="negative"):
        miqro.loop(**arguments)


def test_an_interval_of_another_type_is_refused_where_it_is_written() -> None:
    """C50: as timedelta says it."""
    with pytest.raises(TypeError):
        miqro.loop(seconds="5")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        miqro.loop(fortnights=1)


# ---- C10: several decorators -------------------------------------------------------------------------------


def test_decorators_stack(config: Path) -> None:
    """C10: `handle` on `handle`, on `handle_global`, on `loop`; the method is called for each."""

    class S(Base):
        @miqro.handle("a")
        @miqro.handle("b")
        @miqro.handle_global("c")
        @miqro.loop(seconds=1000)
        @miqro.loop(seconds=2000)
        def on_any(self, payload: str = "loop") -> None:
            self.seen.append(payload)

    service = make(S, config)
    for topic in ("service/s/a", "service/s/b", "c"):
        receive(service, topic, topic)
    assert sorted(service.seen) == ["c", "service/s/a", "service/s/b"]
    assert sorted(loops(service)) == [
        ("on_any", timedelta(seconds=1000)),
        ("on_any", timedelta(seconds=2000)),
    ]
    service.seen.clear()
    service._loop_step()
    assert service.seen == ["loop", "loop"]
    assert vars(S)["on_any"].fn.__name__ == "on_any"
    assert service.on_any("direct") is None


def test_the_order_of_the_stack_is_the_order_of_registration(config: Path) -> None:
    """C10: decorators are applied from the inside out."""

    class S(Base):
        @miqro.handle("third")
        @miqro.handle("second")
        @miqro.handle("first")
        def on_any(self, payload: str) -> None: ...

    assert own(S) == ["first", "second", "third"]


def test_the_same_decorated_function_under_two_names_is_two_handlers(config: Path) -> None:
    """C10: names are what counts."""

    class S(Base):
        @miqro.handle("a")
        def one(self, payload: str) -> None:
            self.seen.append(payload)

        two = one

    service = make(S, config)
    receive(service, "service/s/a", "x")
    assert service.seen == ["x", "x"]


@pytest.mark.parametrize("json_on_top", [True, False])
def test_accept_json_stacks_on_either_side(config: Path, json_on_top: bool) -> None:
    """C10, C19: 1.x lost the handler where `accept_json` came last."""

    class OnTop(Base):
        @miqro.accept_json
        @miqro.handle("a")
        def on_a(self, x: int, y: int = 0) -> None:
            self.seen.append((x, y))

    class Below(Base):
        @miqro.handle("a")
        @miqro.accept_json
        def on_a(self, x: int, y: int = 0) -> None:
            self.seen.append((x, y))

    service = make(OnTop if json_on_top else Below, config)
    receive(service, "service/s/a", '{"x": 1, "y": 2}')
    receive(service, "service/s/a", '{"x": 3}')
    assert service.seen == [(1, 2), (3, 0)]


# ---- C12: what was decorated ---------------------------------------------------------------------------------


def test_other_decorators_below_ours_are_called(config: Path) -> None:
    """C12: a wrapper that keeps the signature, one that takes anything, and one that changes it."""

    def loud(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            args[0].seen.append("loud")
            return fn(*args, **kwargs)

        return wrapper

    def from_json(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(self: Any, payload: str) -> Any:
            return fn(self, **json.loads(payload))

        return wrapper

    def from_json_anyhow(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(self: Any, *args: str) -> Any:
            return fn(self, **json.loads(args[0]))

        return wrapper

    def bare(fn: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: fn(*args)

    class S(Base):
        @miqro.handle("a")
        @loud
        def on_a(self, payload: str) -> None:
            self.seen.append(payload)

        @miqro.handle("b")
        @from_json
        def on_b(self, x: int, y: int, z: int) -> None:
            self.seen.append((x, y, z))

        @miqro.handle("c")
        @from_json_anyhow
        def on_c(self, x: int, y: int, z: int) -> None:
            self.seen.append((x, y, z))

        @miqro.handle("d")
        @bare
        def on_d(self, payload: str) -> None:
            self.seen.append(payload)

        @miqro.loop(seconds=1000)
        @loud
        def tick(self) -> None:
            self.seen.append("tick")

        @miqro.loop(seconds=1000)
        @bare
        def tock(self) -> None:
            self.seen.append("tock")

    service = make(S, config)
    receive(service, "service/s/a", "1")
    receive(service, "service/s/b", '{"x": 1, "y": 2, "z": 3}')
    receive(service, "service/s/c", '{"x": 4, "y": 5, "z": 6}')
    receive(service, "service/s/d", "7")
    service._loop_step()
    assert service.seen == ["loud", "1", (1, 2, 3), (4, 5, 6), "7", "loud", "tick", "tock"]
    assert service.failure_count == 0


def test_a_static_method_is_called_with_the_service(config: Path) -> None:
    """C12: `handler(service, payload)`, as 1.x did with whatever was decorated; or without it."""
    seen: list[object] = []

    class S(Base):
        @miqro.handle("a")
        @staticmethod
        def on_a(service: Any, payload: str) -> None:
            seen.append((service, payload))

        @miqro.handle("b")
        @staticmethod
        def on_b(payload: str) -> None:
            seen.append(payload)

    service = make(S, config)
    receive(service, "service/s/a", "1")
    receive(service, "service/s/b", "2")
    assert seen == [(service, "1"), "2"]
    service.on_b("3")
    assert seen[-1] == "3"


@pytest.mark.parametrize("topic", ["a", "a/#"])
def test_a_decorated_handler_that_cannot_be_called_is_an_error_at_start_and_per_message(
    config: Path, caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    """C12: a published service has such a handler, and runs."""

    class S(Base):
        @miqro.handle(topic)
        def wrong(self) -> None:
            self.seen.append("wrong")

        @miqro.handle("b")
        def right(self, payload: str) -> None:
            self.seen.append(payload)

    service = make(S, config)
    service.mqtt_client.ensure_connected()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert f"service/s/{topic}" in errors[0].getMessage()
    assert "wrong" in errors[0].getMessage()
    assert service.failure_count == 1
    for count in (2, 3):
        receive(service, "service/s/a", "x")
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == count
        assert "service/s/a" in errors[-1].getMessage()
        assert service.failure_count == count
    receive(service, "service/s/b", "fine")
    assert service.seen == ["fine"]


def test_a_decorated_filter_that_is_not_valid_is_an_error_and_the_service_runs(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C12, C13: nothing is raised into the start of a service; the others work."""

    class S(Base):
        @miqro.handle("a/#/b")
        def wrong(self, payload: str) -> None: ...

        @miqro.handle("b")
        def right(self, payload: str) -> None:
            self.seen.append(payload)

    service = make(S, config)
    service.mqtt_client.ensure_connected()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "service/s/a/#/b" in errors[0]
    receive(service, "service/s/b", "fine")
    assert service.seen == ["fine"]


# ---- C19 -----------------------------------------------------------------------------------------------------


class Json(Base):
    @miqro.handle("set")
    @miqro.accept_json
    def on_set(self, level: int, colour: str = "white") -> None:
        """Sets the light."""
        self.seen.append((level, colour))

    @miqro.handle("any/#")
    @miqro.accept_json
    def on_any(self, rest: str, **members: object) -> None:
        self.seen.append((rest, members))

    @miqro.handle("none")
    @miqro.accept_json
    def on_none(self) -> None:
        self.seen.append("none")


def test_accept_json_passes_members_as_keyword_arguments(config: Path) -> None:
    """C19."""
    service = make(Json, config)
    receive(service, "service/s/set", '{"level": 5, "colour": "red"}')
    receive(service, "service/s/set", ' {"level": 6}\n')
    receive(service, "service/s/set", '{"level": {"nested": [1, 2.5, null, true]}}')
    receive(service, "service/s/none", "{}")
    assert service.seen == [
        (5, "red"),
        (6, "white"),
        ({"nested": [1, 2.5, None, True]}, "white"),
        "none",
    ]


def test_accept_json_passes_the_rest_of_the_topic_first(config: Path) -> None:
    """C19: by position; 1.x could not."""
    service = make(Json, config)
    receive(service, "service/s/any/a/b", '{"x": 1}')
    receive(service, "service/s/any", "{}")
    assert service.seen == [("a/b", {"x": 1}), ("", {})]


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{",
        "{'level': 1}",
        "[1, 2]",
        "5",
        '"text"',
        "null",
        '{"level": 1} more',
        b"\xff\xfe{}",
        "[" * 5000,
    ],
    ids=repr,
)
def test_malformed_json_is_a_logged_error_that_names_the_topic(
    config: Path, caplog: pytest.LogCaptureFixture, payload: str | bytes
) -> None:
    """C19: in 1.x one such message ended the service."""
    service = make(Json, config)
    receive(service, "service/s/set", payload)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "service/s/set" in errors[0].getMessage()
    assert service.failure_count == 1
    receive(service, "service/s/set", '{"level": 5}')
    assert service.seen == [(5, "white")]


@pytest.mark.parametrize("payload", ["{}", '{"level": 1, "unknown": 2}', '{"self": 1, "level": 2}'])
def test_members_that_do_not_fit_are_a_logged_error_that_names_the_topic(
    config: Path, caplog: pytest.LogCaptureFixture, payload: str
) -> None:
    """C19, C16."""
    service = make(Json, config)
    receive(service, "service/s/set", payload)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "service/s/set" in errors[0].getMessage()
    assert service.seen == []


def test_a_method_that_accepts_json_keeps_its_name_and_documentation(config: Path) -> None:
    """C19: and can be called by hand with text."""
    service = make(Json, config)
    assert service.on_set.__name__ == "on_set"
    assert service.on_set.__doc__ == "Sets the light."
    by_hand: Callable[..., None] = service.on_set
    by_hand('{"level": 9}')
    assert service.seen == [(9, "white")]


def test_accept_json_works_on_a_handler_that_is_added(config: Path) -> None:
    """C19, C12: where nothing is decorated with `handle`."""

    class S(Base):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_handler("own", self.on_set)
            self.add_global_handler("all/#", self.on_all)

        @miqro.accept_json
        def on_set(self, level: int) -> None:
            self.seen.append(level)

        @miqro.accept_json
        def on_all(self, rest: str, level: int) -> None:
            self.seen.append((rest, level))

    service = make(S, config)
    receive(service, "service/s/own", '{"level": 9}')
    receive(service, "all/a", '{"level": 10}')
    assert service.seen == [9, ("a", 10)]
