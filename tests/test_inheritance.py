"""Which handlers and loops a class has of its bases (contract C10)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import miqro
from services import make, receive

if TYPE_CHECKING:
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


# ---- C10: inheritance --------------------------------------------------------------------------------------


def test_a_subclass_inherits_handlers_and_loops_and_adds_its_own(config: Path) -> None:
    """C10."""

    class Parent(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append(("a", payload))

        @miqro.loop(seconds=1000)
        def tick(self) -> None: ...

    class Child(Parent):
        @miqro.handle("b")
        def on_b(self, payload: str) -> None:
            self.seen.append(("b", payload))

        @miqro.loop(seconds=2000)
        def tock(self) -> None: ...

    assert own(Parent) == ["a"]
    assert own(Child) == ["a", "b"]
    service = make(Child, config)
    receive(service, "service/s/a", "1")
    receive(service, "service/s/b", "2")
    assert service.seen == [("a", "1"), ("b", "2")]
    assert [name for name, _ in loops(service)] == ["tick", "tock"]
    assert [name for name, _ in loops(make(Parent, config))] == ["tick"]


def test_a_subclass_does_not_change_its_parents_and_siblings_lists() -> None:
    """C10: 1.x appended to the list of the first class that had one."""

    class Parent(Base):
        @miqro.handle("a")
        @miqro.handle_global("a")
        @miqro.loop(seconds=1)
        def on_a(self, payload: str = "") -> None: ...

    before = (
        list(Parent.CLASS_MQTT_HANDLERS),
        list(Parent.CLASS_MQTT_GLOBAL_HANDLERS),
        list(Parent.PREPARED_LOOPS),
    )

    class Left(Parent):
        @miqro.handle("left")
        @miqro.handle_global("left")
        @miqro.loop(seconds=1)
        def on_left(self, payload: str = "") -> None: ...

    class Right(Parent):
        @miqro.handle("right")
        def on_right(self, payload: str) -> None: ...

    assert before == (Parent.CLASS_MQTT_HANDLERS, Parent.CLASS_MQTT_GLOBAL_HANDLERS, Parent.PREPARED_LOOPS)
    assert own(Left) == ["a", "left"]
    assert own(Right) == ["a", "right"]
    assert miqro.Service.CLASS_MQTT_HANDLERS == []
    assert miqro.Service.PREPARED_LOOPS == []
    assert Left.CLASS_MQTT_HANDLERS is not Parent.CLASS_MQTT_HANDLERS


def test_instances_do_not_share_the_lists_of_their_class(config: Path) -> None:
    """C10."""

    class S(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None: ...

    service = make(S, config)
    service.add_handler("b", lambda _service, _payload: None)
    service.mqtt_handlers.append(("c", lambda _service, _payload: None))
    assert own(S) == ["a"]
    assert [topic for topic, _ in make(S, config).mqtt_handlers] == ["a", "enabled"]


def test_a_name_that_is_overridden_with_a_decorator_has_the_new_topic_only(config: Path) -> None:
    """C10: replaced, not added; 1.x ran both."""

    class Parent(Base):
        @miqro.handle("old")
        @miqro.loop(seconds=1000)
        def on_a(self, payload: str = "") -> None:
            self.seen.append(("parent", payload))

    class Child(Parent):
        @miqro.handle("new")
        def on_a(self, payload: str = "") -> None:
            self.seen.append(("child", payload))

    service = make(Child, config)
    assert own(Child) == ["new"]
    assert loops(service) == []
    receive(service, "service/s/old", "1")
    receive(service, "service/s/new", "2")
    assert service.seen == [("child", "2")]
    parent = make(Parent, config)
    receive(parent, "service/s/old", "1")
    assert parent.seen == [("parent", "1")]


def test_a_name_that_is_overridden_with_the_same_decorator_runs_once(config: Path) -> None:
    """C10."""

    class Parent(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append("parent")

    class Child(Parent):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            super().on_a(payload)
            self.seen.append("child")

    service = make(Child, config)
    receive(service, "service/s/a", "1")
    assert service.seen == ["parent", "child"]


def test_a_name_that_is_overridden_without_a_decorator_keeps_the_topic(config: Path) -> None:
    """C10: the new method is called, as one expects of an override."""

    class Parent(Base):
        @miqro.handle("a")
        @miqro.handle_global("b")
        def on_a(self, payload: str) -> None:
            self.seen.append(("parent", payload))

        @miqro.loop(seconds=1000)
        def tick(self) -> None:
            self.seen.append("parent ticks")

    class Child(Parent):
        def on_a(self, payload: str) -> None:
            self.seen.append(("child", payload))

        def tick(self) -> None:
            self.seen.append("child ticks")

    service = make(Child, config)
    receive(service, "service/s/a", "1")
    receive(service, "b", "2")
    service._loop_step()
    assert service.seen == [("child", "1"), ("child", "2"), "child ticks"]


def test_a_name_that_is_overridden_twice_is_the_last_one(config: Path) -> None:
    """C10: over three generations, with the decorator first dropped and then given anew."""

    class A(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append("A")

    class B(A):
        def on_a(self, payload: str) -> None:
            self.seen.append("B")

    class C(B):
        pass

    class D(C):
        @miqro.handle("d")
        def on_a(self, payload: str) -> None:
            self.seen.append("D")

    for cls, topic, expected in ((A, "a", "A"), (B, "a", "B"), (C, "a", "B"), (D, "d", "D")):
        service = make(cls, config)
        receive(service, f"service/s/{topic}", "1")
        assert service.seen == [expected]
    assert own(D) == ["d"]


def test_a_handler_is_taken_away_with_none(config: Path) -> None:
    """C10: what a subclass sets to something that cannot be called is gone."""

    class Parent(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None: ...

        @miqro.loop(seconds=1)
        def tick(self) -> None: ...

    class Child(Parent):
        on_a = None  # type: ignore[assignment]
        tick = None  # type: ignore[assignment]

    assert own(Child) == []
    assert loops(make(Child, config)) == []
    assert own(Parent) == ["a"]


def test_a_mixin_that_is_no_service_brings_its_handlers_and_loops(config: Path) -> None:
    """C10: of all its bases; in 1.x such a class could not even be written."""

    class Battery:
        @miqro.handle("battery")
        def on_battery(self, payload: str) -> None:
            self.seen.append(("battery", payload))  # type: ignore[attr-defined]

        @miqro.loop(seconds=1000)
        def read_battery(self) -> None: ...

    class Clock:
        @miqro.handle_global("clock")
        def on_clock(self, payload: str) -> None:
            self.seen.append(("clock", payload))  # type: ignore[attr-defined]

    class Derived(Clock):
        @miqro.handle("derived")
        def on_derived(self, payload: str) -> None:
            self.seen.append(("derived", payload))  # type: ignore[attr-defined]

    class S(Battery, Base, Derived):
        @miqro.handle("mine")
        def on_mine(self, payload: str) -> None:
            self.seen.append(("mine", payload))

    service = make(S, config)
    for topic in ("service/s/battery", "clock", "service/s/derived", "service/s/mine"):
        receive(service, topic, "1")
    assert service.seen == [("battery", "1"), ("clock", "1"), ("derived", "1"), ("mine", "1")]
    assert [name for name, _ in loops(service)] == ["read_battery"]


def test_a_mixin_overrides_a_handler_of_the_service_it_is_put_before(config: Path) -> None:
    """C10: the order of resolution is Python's."""

    class Parent(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append("parent")

    class Louder:
        def on_a(self, payload: str) -> None:
            super().on_a(payload)  # type: ignore[misc]
            self.seen.append("louder")  # type: ignore[attr-defined]

    class S(Louder, Parent):
        pass

    service = make(S, config)
    receive(service, "service/s/a", "1")
    assert service.seen == ["parent", "louder"]


def test_a_diamond_has_each_handler_once(config: Path) -> None:
    """C10."""

    class Top(Base):
        @miqro.handle("top")
        def on_top(self, payload: str) -> None:
            self.seen.append("top")

        @miqro.loop(seconds=1000)
        def tick(self) -> None:
            self.seen.append("tick")

    class Left(Top):
        @miqro.handle("left")
        def on_left(self, payload: str) -> None:
            self.seen.append("left")

        def on_top(self, payload: str) -> None:
            self.seen.append("left's top")
            super().on_top(payload)

    class Right(Top):
        @miqro.handle("right")
        def on_right(self, payload: str) -> None:
            self.seen.append("right")

        @miqro.handle("right_top")
        def on_top(self, payload: str) -> None:
            self.seen.append("right's top")
            super().on_top(payload)

    class Bottom(Left, Right):
        @miqro.handle("bottom")
        def on_bottom(self, payload: str) -> None:
            self.seen.append("bottom")

    service = make(Bottom, config)
    assert sorted(own(Bottom)) == ["bottom", "left", "right", "right_top"]
    for name in ("left", "right", "bottom", "right_top"):
        receive(service, f"service/s/{name}", "1")
    assert service.seen == ["left", "right", "bottom", "left's top", "right's top", "top"]
    assert [name for name, _ in loops(service)] == ["tick"]
    assert own(Left) == ["top", "left"]


def test_the_handlers_of_bases_come_before_those_of_the_class(config: Path) -> None:
    """C10, C13: each in order of registration."""

    class Parent(Base):
        @miqro.handle("+/x")
        def zzz(self, payload: str) -> None:
            self.seen.append("parent")

    class Child(Parent):
        @miqro.handle("a/+")
        def aaa(self, payload: str) -> None:
            self.seen.append("child")

    service = make(Child, config)
    receive(service, "service/s/a/x", "1")
    assert service.seen == ["parent", "child"]


def test_a_list_that_is_spelled_out_replaces_what_the_bases_have() -> None:
    """C3, C10: an attribute that a class overrides is overridden; what is marked in the class is added."""

    def by_hand(service: miqro.Service, payload: str) -> None: ...

    class Parent(Base):
        @miqro.handle("parent")
        def on_parent(self, payload: str) -> None: ...

    class Child(Parent):
        CLASS_MQTT_HANDLERS = [("by_hand", by_hand)]  # noqa: RUF012 - as services write it

        @miqro.handle("child")
        def on_child(self, payload: str) -> None: ...

    class Grandchild(Child):
        @miqro.handle("grandchild")
        def on_grandchild(self, payload: str) -> None: ...

    assert own(Child) == ["by_hand", "child"]
    assert own(Grandchild) == ["by_hand", "child", "grandchild"]
    assert own(Parent) == ["parent"]


def test_a_list_that_is_copied_from_the_parent_has_no_handler_twice(config: Path) -> None:
    """C10: how a 1.x service kept its parent's list apart from its own."""

    class Parent(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None:
            self.seen.append("a")

    class Child(Parent):
        CLASS_MQTT_HANDLERS = list(Parent.CLASS_MQTT_HANDLERS)  # noqa: RUF012 - as services write it

        @miqro.handle("b")
        def on_b(self, payload: str) -> None:
            self.seen.append("b")

    service = make(Child, config)
    receive(service, "service/s/a", "1")
    receive(service, "service/s/b", "1")
    assert service.seen == ["a", "b"]


def test_a_list_that_a_mixin_spells_out_counts(config: Path) -> None:
    """C3, C10: of all its bases."""

    def by_hand(service: Any, payload: str) -> None:
        service.seen.append(payload)

    class Mixin:
        CLASS_MQTT_HANDLERS = [("by_hand", by_hand)]  # noqa: RUF012 - as services write it

    class S(Mixin, Base):
        pass

    class T(Base, Mixin):
        pass

    for cls in (S, T):
        service = make(cls, config)
        receive(service, "service/s/by_hand", "1")
        assert service.seen == ["1"]


def test_the_lists_of_a_class_can_be_appended_to_after_it_was_made(config: Path) -> None:
    """C3: as plugins of 1.x services did."""

    class S(Base):
        @miqro.handle("a")
        def on_a(self, payload: str) -> None: ...

    S.CLASS_MQTT_HANDLERS.append(("plugin", lambda service, payload: service.seen.append(payload)))
    S.PREPARED_LOOPS.append((lambda service: service.seen.append("tick"), timedelta(seconds=1000)))
    service = make(S, config)
    receive(service, "service/s/plugin", "1")
    service._loop_step()
    assert service.seen == ["1", "tick"]
