"""The live mapping of what was last sent (C4, C35)."""

from __future__ import annotations

import collections.abc
import math
import operator
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from miqro import _native

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_message_is_unchanged_once_it_was_noted() -> None:
    """C35: compared are the bytes; asking alone remembers nothing."""
    last = _native.LastKeyValues()
    assert not last.unchanged("t", "1", None)
    assert not last.unchanged("t", "1", None)
    last.note("t", "1")
    assert last.unchanged("t", "1", None)
    assert last.unchanged("t", b"1", None)
    assert not last.unchanged("t", "2", None)
    assert not last.unchanged("u", "1", None)
    last.note("t", "ä")
    assert last.unchanged("t", "ä".encode(), None)


def test_an_age_lets_the_same_message_out_again_once_it_has_passed() -> None:
    """C35: by the monotonic clock, and mixed with the form without an age on one topic."""
    last = _native.LastKeyValues()
    last.note("t", "1")
    assert last.unchanged("t", "1", 3600.0)
    assert last.unchanged("t", "1", math.inf)
    assert not last.unchanged("t", "1", 0.0)
    assert not last.unchanged("t", "1", -1.0)
    noted = time.monotonic()
    deadline = noted + 10
    while last.unchanged("t", "1", 0.05):
        assert time.monotonic() < deadline
    assert time.monotonic() - noted > 0.04
    assert last.unchanged("t", "1", None)
    last.note("t", "1")
    assert last.unchanged("t", "1", 3600)
    with pytest.raises(ValueError, match="max_age"):
        last.unchanged("t", "1", math.nan)


def test_a_plain_message_counts_as_last_sent_on_a_tracked_topic_only() -> None:
    """C35."""
    last = _native.LastKeyValues()
    assert last.note_if_tracked("t", "1") is False
    assert len(last) == 0
    last.note("t", "1")
    assert last.note_if_tracked("t", "2") is True
    assert not last.unchanged("t", "1", None)
    assert last.unchanged("t", "2", None)


def test_clearing_it_or_taking_a_topic_out_lets_the_next_message_go() -> None:
    """C4: the mapping is live."""
    last = _native.LastKeyValues()
    for topic in "abcd":
        last.note(topic, "1")
    assert last.pop("a") == "1"
    del last["b"]
    assert not last.unchanged("a", "1", None)
    assert not last.unchanged("b", "1", None)
    assert last.unchanged("c", "1", None)
    last.clear()
    assert not last.unchanged("c", "1", None)
    last["c"] = "2"
    assert last.unchanged("c", "2", None)


def test_it_reads_like_a_dict() -> None:
    """C4: in the order in which the topics came; text, or bytes that are no text."""
    last = _native.LastKeyValues()
    last.note("z", "1")
    last.note("a", b"\xff")
    last.note("m", "ä")
    last.note("z", "2")
    expected = {"z": "2", "a": b"\xff", "m": "ä"}
    assert isinstance(last, collections.abc.Mapping)
    assert dict(last) == expected
    assert last == expected
    assert expected == last
    assert last != {"z": "2"}
    assert last != 5
    same = _native.LastKeyValues()
    for topic, payload in expected.items():
        same[topic] = payload
    assert last == same
    assert list(last) == list(last.keys()) == ["z", "a", "m"]
    assert list(last.values()) == ["2", b"\xff", "ä"]
    assert list(last.items()) == list(expected.items())
    assert len(last) == 3
    assert bool(last)
    assert not _native.LastKeyValues()
    assert "z" in last
    assert "x" not in last
    assert 5 not in last
    assert last["a"] == b"\xff"
    assert last.get("m") == "ä"
    assert last.get("x") is None
    assert last.get("x", 7) == 7
    assert last.pop("x", None) is None
    assert last.pop("x", 7) == 7
    assert repr(last) == "LastKeyValues({'z': '2', 'a': b'\\xff', 'm': 'ä'})"


def test_a_topic_that_is_not_there_is_a_key_error() -> None:
    """C4: as in a dict."""
    last: Any = _native.LastKeyValues()
    for act in (lambda: last["t"], lambda: last.pop("t"), lambda: operator.delitem(last, "t")):
        with pytest.raises(KeyError, match="t"):
            act()
    with pytest.raises(TypeError, match="at most 2"):
        last.pop("t", 1, 2)


def test_a_payload_of_another_type_is_a_type_error() -> None:
    """C35: payloads here are text or bytes."""
    last: Any = _native.LastKeyValues()
    act: Callable[[], object]
    for act in (
        lambda: last.note("t", 1),
        lambda: last.unchanged("t", 1.5, None),
        lambda: last.note_if_tracked("t", None),
        lambda: last.__setitem__("t", 1),
    ):
        with pytest.raises(TypeError, match="str or bytes"):
            act()
    with pytest.raises(UnicodeEncodeError):
        last.note("t", "\ud800")
    assert len(last) == 0


def test_it_may_change_while_it_is_iterated() -> None:
    """C4: iteration goes over what was there when it began."""
    last = _native.LastKeyValues()
    for n in range(10):
        last.note(str(n), "x")
    for topic in last:
        last.pop(topic)
        last.note(topic + "!", "x")
    assert list(last) == [f"{n}!" for n in range(10)]


def test_threads_may_use_it_at_once() -> None:
    """C4, C35: publishing from ten threads."""
    last = _native.LastKeyValues()
    failures: list[object] = []

    def publish(name: int) -> None:
        for n in range(2_000):
            topic = f"t/{name}/{n % 10}"
            last.note(topic, str(n))
            if not last.unchanged(topic, str(n), None):
                failures.append((name, n))
            if n % 100 == 99:
                list(last.items())

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(last) == 100
