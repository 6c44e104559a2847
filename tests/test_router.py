"""From topics to handlers, through the cache (C13)."""

from __future__ import annotations

import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miqro import _native


def test_handlers_are_found_in_the_order_of_the_contract() -> None:
    """C13: global ones first, then the service's own, each in order of registration."""
    router = _native.Router()
    own = [router.add("set/#", False), router.add("set/+", False)]
    everywhere = [router.add("#", True), router.add("set/a", True)]
    assert router.route("set/a") == (
        (everywhere[0], "set/a"),
        (everywhere[1], None),
        (own[0], "a"),
        (own[1], None),
    )
    assert router.route("set") == ((everywhere[0], "set"), (own[0], ""))
    assert router.route("$SYS/x") == ()


def test_shared_filters_are_matched_by_what_they_share() -> None:
    """C13: `$share/group/filter`."""
    router = _native.Router()
    shared = router.add("$share/group/set/#", False)
    assert router.route("set/a/b") == ((shared, "a/b"),)
    assert router.route("$share/group/set/a") == ()
    assert router.filters() == ["$share/group/set/#"]


@pytest.mark.parametrize("topic_filter", ["", "a+", "a/#/b", "a\0", "$share/g", "x" * 65_536])
def test_an_invalid_filter_is_a_value_error_and_changes_nothing(topic_filter: str) -> None:
    """C13: at registration."""
    router = _native.Router()
    with pytest.raises(ValueError, match="topic|subscription"):
        router.add(topic_filter, False)
    assert router.filters() == []
    assert len(router) == 0


def test_an_answer_is_kept_until_the_handlers_change() -> None:
    """C13: the same tuple again, and never one from before a change."""
    router = _native.Router()
    first = router.add("a/+", False)
    assert router.route("a/b") is router.route("a/b")
    second = router.add("a/#", False)
    assert router.route("a/b") == ((first, None), (second, "b"))
    router.remove(first)
    assert router.route("a/b") == ((second, "b"),)
    router.remove(first)
    router.remove(second)
    assert router.route("a/b") == ()
    assert router.filters() == []
    assert router.add("a/b", True) not in (first, second)


def test_every_distinct_filter_is_listed_once_in_order() -> None:
    """C13: what is to be subscribed to."""
    router = _native.Router()
    ids = [router.add(name, False) for name in ("b", "a/#", "b", "c")]
    assert router.filters() == ["b", "a/#", "c"]
    router.remove(ids[0])
    assert router.filters() == ["a/#", "b", "c"]
    router.remove(ids[2])
    assert router.filters() == ["a/#", "c"]
    assert len(router) == 2


LEVELS = st.sampled_from(["a", "b", "", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(st.one_of(LEVELS, st.just("+")), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)


def expected_remainder(topic_filter: str, topic: str) -> tuple[bool, str | None]:
    """Whether a filter matches, and what its `#` stands for, as section 4.7 of MQTT 3.1.1 reads."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False, None
    wanted, found = topic_filter.split("/"), topic.split("/")
    rest = None
    if wanted[-1] == "#":
        wanted.pop()
        rest = "/".join(found[len(wanted) :])
        found = found[: len(wanted)]
    same = len(wanted) == len(found) and all(a in ("+", b) for a, b in zip(wanted, found, strict=True))
    return same, rest if same else None


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(FILTERS, st.booleans()), max_size=12), st.lists(TOPICS, min_size=1, max_size=6))
def test_routing_agrees_with_asking_every_filter(handlers: list[tuple[str, bool]], topics: list[str]) -> None:
    """C13: also the second time, when the answer comes from the cache."""
    router = _native.Router()
    ids = [router.add(name, everywhere) for name, everywhere in handlers]
    by_order = sorted(zip(ids, handlers, strict=True), key=lambda it: (not it[1][1], it[0]))
    for topic in topics * 2:
        answers = [(number, expected_remainder(name, topic)) for number, (name, _) in by_order]
        assert router.route(topic) == tuple((number, rest) for number, (same, rest) in answers if same)


def test_the_cache_is_bounded_and_stays_right() -> None:
    """C13: a hundred thousand topics, and long ones, do not stay in memory."""
    router = _native.Router()
    handler = router.add("a/#", False)
    tracemalloc.start()
    try:
        for n in range(100_000):
            assert router.route(f"a/{n}") == ((handler, str(n)),)
        after_many = tracemalloc.get_traced_memory()[0]
        for n in range(2_000):
            rest = f"{n}" * 5_000
            assert router.route(f"a/{rest}"[:60_000])[0][1] == rest[:59_998]
        after_long = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after_many < 10_000_000, "two generations of 16,384 answers"
    assert after_long < after_many + 1_000_000
    assert router.route("a/99999") == ((handler, "99999"),)
    assert router.route("a/0") == ((handler, "0"),)


def test_topics_that_keep_coming_stay_in_the_cache() -> None:
    """C13: passing topics do not push out one that is asked for in between."""
    router = _native.Router()
    router.add("#", False)
    kept = router.route("often")
    for n in range(50_000):
        router.route(f"passing/{n}")
        if n % 1_000 == 0:
            assert router.route("often") is kept


def test_threads_may_route_while_handlers_come_and_go() -> None:
    """C53, C13: every answer is one that held at some moment, and the last one is right."""
    router = _native.Router()
    always = router.add("a/#", True)
    stop = threading.Event()
    wrong: list[object] = []

    def route() -> None:
        while not stop.is_set():
            answer = router.route("a/b")
            if not 1 <= len(answer) <= 2 or answer[0] != (always, "b"):
                wrong.append(answer)

    threads = [threading.Thread(target=route) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5_000):
        number = router.add("a/+", False)
        if (number, None) not in router.route("a/b"):
            wrong.append(("missing", number))
        router.remove(number)
        if len(router.route("a/b")) != 1:
            wrong.append(("not gone", number))
    stop.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert router.route("a/b") == ((always, "b"),)
