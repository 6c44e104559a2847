"""`publish_json` and `publish_json_keys` of a service (C32, C33, C34); the writer has tests of its own."""

from __future__ import annotations

import json
import math
import types
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

import miqro
from recorder import Call, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Plain(miqro.Service):
    SERVICE_NAME = "plain"


@pytest.fixture
def service(write_config: Callable[..., Path]) -> Plain:
    """A service on a recorder."""
    return Plain(write_config(1), mqtt_client_cls=Recorder)


def sent(service: miqro.Service) -> list[Call]:
    """What the recorder has got."""
    published: list[Call] = service.mqtt_client.published
    return published


def rounded(value: Any, precision: int) -> Any:
    """What 1.x handed to `json.dumps`."""
    if isinstance(value, float):
        return round(value, precision)
    if isinstance(value, dict):
        return {key: rounded(item, precision) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, precision) for item in value]
    return value


# ---- publish_json (C32) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"answer": 42.01}, '{"answer": 42.01}'),
        ({"b": 1, "a": [1, 2]}, '{"b": 1, "a": [1, 2]}'),
        (
            {"a": 1.123456789, "b": {"c": [0.1 + 0.2, (1 / 3,)]}},
            '{"a": 1.12346, "b": {"c": [0.3, [0.33333]]}}',
        ),
        ({"ü": "°C \N{GRINNING FACE} \ud800"}, '{"\\u00fc": "\\u00b0C \\ud83d\\ude00 \\ud800"}'),
        ('quote " slash \\ \x7f \n', '"quote \\" slash \\\\ \\u007f \\n"'),
        ([1e16, 1e-6, 1.0, -0.0], "[1e+16, 0.0, 1.0, -0.0]"),
        ([math.nan, math.inf, -math.inf], "[NaN, Infinity, -Infinity]"),
        (12345678901234567890123, "12345678901234567890123"),
        (
            {1: "a", 1.123456789: "b", False: "c", None: "d"},
            '{"1": "a", "1.123456789": "b", "false": "c", "null": "d"}',
        ),
        ("text", '"text"'),
        (None, "null"),
        (True, "true"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_json_is_what_json_dumps_gives_for_the_rounded_object(service: Plain, value: Any, text: str) -> None:
    """C32: separators, ASCII escapes, surrogate pairs, `1e+16`, `NaN`, big integers, keys, key order."""
    service.publish_json("x", value)
    assert sent(service) == [Call("service/plain/x", text, 0, False)]
    assert text == json.dumps(rounded(value, 5))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans(), inner, max_size=4
        )
    ),
    max_leaves=20,
)


class Unconfigured(Plain):
    def _read_config(self, add_config_file_path: Any = None) -> None:
        self.config, self.service_config = {"broker": {"host": "localhost", "port": 1}}, {}
        self.data_topic_prefix = "r/"
        self.willtopic = "r/online"


_SERVICE = Unconfigured(mqtt_client_cls=Recorder)


@hypothesis.given(value=_VALUES, precision=st.integers(0, 10))
def test_every_object_is_sent_as_json_dumps_writes_it(value: Any, precision: int) -> None:
    """C32: exactly those bytes, whichever method is called."""
    _SERVICE.JSON_FLOAT_PRECISION = precision
    _SERVICE.mqtt_client.published.clear()
    _SERVICE.publish_json("x", value)
    if isinstance(value, (dict, list)):
        _SERVICE.publish("x", value)
    expected = json.dumps(rounded(value, precision))
    assert {call.payload for call in sent(_SERVICE)} == {expected}


def _circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [{"a": object()}, {(1, 2): 3}, {"a": {1, 2}}, [b"bytes"], _circular(), {"a": 1j}],
    ids=lambda v: repr(v)[:20],
)
def test_what_json_refuses_raises_the_same_exception_and_sends_nothing(service: Plain, value: Any) -> None:
    """C32: the same exception type, from `publish_json` and from `publish`."""
    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever json says
        json.dumps(value)
    for publish in (service.publish_json, service.publish):
        with pytest.raises(expected.type):
            publish("x", value)
    assert sent(service) == []


def test_numpy_in_json_is_as_json_has_it(service: Plain) -> None:
    """C32: a float64 is a float; what `json.dumps` does not know raises its TypeError."""
    np = pytest.importorskip("numpy")
    service.publish_json("x", {"v": np.float64(1.23456789)})
    assert sent(service)[0].payload == '{"v": 1.23457}'
    with pytest.raises(TypeError):
        service.publish_json("x", {"v": np.int64(1)})


def test_mappings_and_tuples_are_written_at_any_depth(service: Plain) -> None:
    """C31, C32: other mappings and tuples are turned into dict and list."""
    service.publish_json(
        "x", types.MappingProxyType({"a": ({"b": types.MappingProxyType({"c": 1.234567})},)})
    )
    assert sent(service)[0].payload == '{"a": [{"b": {"c": 1.23457}}]}'


# ---- publish_json_keys (C33) -----------------------------------------------------------------------------


def test_each_entry_is_published_under_its_key(service: Plain) -> None:
    """C33: nested dicts as deeper topics, lists as JSON, in the order of the dict; the rest by C31."""
    service.publish_json_keys(
        {
            "z": 1.123456789,
            "a": {"b": {"c": True}, "d": None},
            "list": [1.23456789, {"x": 1}],
            "tuple": (1, 2),
            "text": "t",
            "bytes": b"\xff",
            "none": {},
            "proxy": types.MappingProxyType({"p": False}),
        }
    )
    prefix = "service/plain/"
    assert [(call.topic.removeprefix(prefix), call.payload) for call in sent(service)] == [
        ("z", "1.12346"),
        ("a/b/c", "1"),
        ("a/d", ""),
        ("list", '[1.23457, {"x": 1}]'),
        ("tuple", "[1, 2]"),
        ("text", "t"),
        ("bytes", b"\xff"),
        ("proxy/p", "0"),
    ]


def test_ext_comes_before_the_keys(service: Plain) -> None:
    """C33: `ext` is optional, and stays as it is from key to key (in 1.x it grew)."""
    service.publish_json_keys({"a": 1, "b": {"c": 2}, "d": 3}, "foo/bar")
    service.publish_json_keys({"a": 1}, "up", global_=True)
    assert [call.topic for call in sent(service)] == [
        "service/plain/foo/bar/a",
        "service/plain/foo/bar/b/c",
        "service/plain/foo/bar/d",
        "up/a",
    ]


def test_a_key_that_is_no_text_becomes_what_json_makes_of_it(service: Plain) -> None:
    """C33: numbers, truth values and None are keys too, at any depth; others raise JSON's TypeError."""
    service.publish_json_keys({1: "a", 2.5: {False: "b"}, None: "c", 10**20: "e"}, global_=True)
    assert [(call.topic, call.payload) for call in sent(service)] == [
        ("1", "a"),
        ("2.5/false", "b"),
        ("null", "c"),
        ("1" + "0" * 20, "e"),
    ]
    with pytest.raises(TypeError, match="tuple"):
        service.publish_json_keys({(1, 2): 3})


def test_it_returns_a_flat_list_of_what_publish_returned(service: Plain) -> None:
    """C33: returns a list, in the order of the messages."""
    service.mqtt_client.answer = "answer"
    assert service.publish_json_keys({"a": 1, "b": {"c": 2, "d": {}}, "e": [3]}) == ["answer"] * 3
    assert service.publish_json_keys({}) == []


def test_an_impossible_key_does_not_keep_the_others_back(service: Plain) -> None:
    """C33, C37: a key with a wildcard is an invalid topic; the entries around it are sent."""
    infos = service.publish_json_keys({"a": 1, "b+": 2, "c": 3})
    assert [call.topic for call in sent(service)] == ["service/plain/a", "service/plain/c"]
    assert infos[1].rc != 0
    assert service.failure_count == 1


# ---- arguments (C34) -------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("global_", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_the_arguments_reach_the_client_through_all_three_methods(
    service: Plain, qos: int, retain: bool, global_: bool, by_name: bool
) -> None:
    """C34: 1.x lost `qos`, `retain` or `global_` on some of these ways."""

    def call(method: Callable[..., Any], *args: Any) -> None:
        for _ in range(2):  # unchanged the second time
            if by_name:
                method(*args, retain=retain, qos=qos, only_if_changed=True, global_=global_)
            else:
                method(*args, retain, qos, True, global_)

    prefix = "" if global_ else "service/plain/"
    call(service.publish, "text", "x")
    call(service.publish, "dict", {"a": 1})
    call(service.publish, "list", [1])
    call(service.publish_json, "json", {"a": 1})
    call(service.publish_json_keys, {"a": 1, "b": {"c": 2}, "d": [3]}, "keys")
    assert sent(service) == [
        Call(f"{prefix}text", "x", qos, retain),
        Call(f"{prefix}dict", '{"a": 1}', qos, retain),
        Call(f"{prefix}list", "[1]", qos, retain),
        Call(f"{prefix}json", '{"a": 1}', qos, retain),
        Call(f"{prefix}keys/a", "1", qos, retain),
        Call(f"{prefix}keys/b/c", "2", qos, retain),
        Call(f"{prefix}keys/d", "[3]", qos, retain),
    ]
