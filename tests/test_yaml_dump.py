"""The YAML writer against `yaml.dump` (contract C56, C57)."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from miqro import _native
from test_yaml import _values, shape

if TYPE_CHECKING:
    from collections.abc import Callable


class Colour(enum.Enum):
    """Not a plain value."""

    RED = "red"


class Level(enum.IntEnum):
    """An Enum, though it is an int."""

    HIGH = 3


class Point(NamedTuple):
    """A tuple by another name."""

    x: int
    y: int


class Text(str):
    """A str that shows itself otherwise."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other"

    __repr__ = __str__


class Whole(int):
    """An int that shows itself otherwise."""

    def __repr__(self) -> str:
        return "other"


class Moment(dt.datetime):
    """A datetime that writes itself otherwise."""

    def isoformat(self, *_: Any, **__: Any) -> str:
        """Write something else."""
        return "other"


def has_surrogate(value: Any) -> bool:
    """Tell whether a text in the value holds half of a surrogate pair, which no UTF-8 text can."""
    return bool(re.search(r"\\u[dD][89a-fA-F]", yaml.dump(value)))


class Difference(NamedTuple):
    """Data for which the library's emitter writes another text that reads back as the same data."""

    why: str
    example: Any
    #: Recognises it by our text and PyYAML's.
    applies: Callable[[str, str], bool]


DIFFERENCES = [
    Difference(
        "an empty text as a key: PyYAML writes `? ''`, libyaml `'':`",
        {"": 1},
        lambda _, theirs: bool(re.search(r"""\? (&\w+ )?(!!\S+ )?(''|"")$""", theirs, re.MULTILINE)),
    ),
    Difference(
        "a key of 128 characters: PyYAML writes it after `? `, libyaml only longer ones, counted in bytes",
        {"k" * 128: 1},
        lambda _, theirs: bool(re.search(r"\? .{110,}$", theirs, re.MULTILINE)),
    ),
    Difference(
        "a key with a carriage return: a line break for libyaml, not for PyYAML",
        {"\r": 1},
        lambda ours, _: bool(re.search(r'\? .*".*\\r', ours)),
    ),
    Difference(
        "an escaped text that passes column 80: PyYAML breaks it anywhere, libyaml at spaces",
        "\x01" * 40,
        lambda _, theirs: bool(re.search(r"\\$", theirs, re.MULTILINE)),
    ),
]


def same_text(value: Any) -> bool:
    """Compare with `yaml.dump`: the same text, or one of the named differences."""
    ours, theirs = _native.yaml_dump(value), yaml.dump(value)
    return ours == theirs or any(difference.applies(ours, theirs) for difference in DIFFERENCES)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.why)
def test_each_difference_exists(difference: Difference) -> None:
    """C56: a named difference that has gone must go from the list; the data are the same."""
    ours, theirs = _native.yaml_dump(difference.example), yaml.dump(difference.example)
    assert ours != theirs
    assert difference.applies(ours, theirs)
    assert yaml.load(ours, yaml.FullLoader) == difference.example  # noqa: S506 - what 1.x uses


@settings(max_examples=1500, deadline=None)
@given(_values)
def test_what_is_written_is_what_yaml_dump_writes(value: Any) -> None:
    """C56: the same text, so that 1.x reads it and a diff of the file shows what changed."""
    if has_surrogate(value):
        with pytest.raises(TypeError, match="surrogate"):
            _native.yaml_dump(value)
        return
    assert same_text(value), f"{_native.yaml_dump(value)}\n--- PyYAML:\n{yaml.dump(value)}"


@settings(max_examples=1500, deadline=None)
@given(_values)
def test_what_is_written_reads_back_in_both(value: Any) -> None:
    """C56: PyYAML and our reader give the same values, with the same shared identities."""
    if has_surrogate(value):
        return
    text = _native.yaml_dump(value)
    expected = shape(yaml.load(yaml.dump(value), yaml.FullLoader))  # noqa: S506 - what 1.x uses
    assert shape(yaml.load(text, yaml.FullLoader)) == expected  # noqa: S506
    assert shape(_native.yaml_load(text.encode(), "f").value) == expected


_plain_states = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30),
        st.datetimes(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(
            st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20), inner
        ),
    ),
    max_leaves=30,
)


@settings(max_examples=500, deadline=None)
@given(_plain_states)
def test_ordinary_states_are_byte_identical(value: Any) -> None:
    """C56: with keys that are short texts there is no difference at all, but for the breaks of long escaped texts."""
    expected = yaml.dump(value)
    if not DIFFERENCES[3].applies("", expected):
        assert _native.yaml_dump(value) == expected


def test_shared_and_recursive_objects_become_anchors() -> None:
    """C56: as `yaml.dump` does, numbered in the order of the second references."""
    shared: list[Any] = [1]
    moment = dt.datetime(2001, 2, 3)
    value: dict[str, Any] = {"a": shared, "b": {"c": shared, "d": moment}, "e": moment, "f": (), "g": ()}
    value["self"] = value
    value["list"] = [value["b"]]
    assert _native.yaml_dump(value) == yaml.dump(value)
    back = _native.yaml_load(_native.yaml_dump(value).encode(), "f").value
    assert back["self"] is back
    assert back["a"] is back["b"]["c"]


@pytest.mark.parametrize(
    "value",
    [
        {2: "b", 10: "c", -1: "a"},
        {"b": 1, "B": 2, "é": 3, "\U0001f600": 4, "\uffff": 5},
        {1: "int", "1": "text"},
        {None: 1, "a": 2, 3: 3},
        {1: 1, 2.5: 2, True + 2: 3},
        {(2, 1): 1, (1, 2): 2},
        {dt.date(2001, 1, 1): 1, dt.date(2000, 1, 1): 2},
        {float("nan"): 1, 1.0: 2, 0.5: 3},
        {b"b": 1, b"a": 2},
        {3, 1, 2},
        {"b", "a"},
        {"a", 1, None},
    ],
)
def test_keys_are_sorted_as_python_sorts_them_or_not_at_all(value: Any) -> None:
    """C56: what cannot be compared stays in its order, as with `yaml.dump`."""
    assert _native.yaml_dump(value) == yaml.dump(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (Point(1, 2), (1, 2)),
        (Text("plain"), "plain"),
        (Whole(5), 5),
        (Whole(2**70), 2**70),
        (Moment(2001, 2, 3), dt.datetime(2001, 2, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_of_plain_types_are_saved_as_those(value: Any, plain: Any) -> None:
    """C56: what comes back is the plain type."""
    assert _native.yaml_dump(value) == yaml.dump(plain)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (
            {"a": [1, {"b": Colour.RED}]},
            "the value at ['a'][1]['b'] cannot be saved: a Colour could not be read back",
        ),
        ({"a": Level.HIGH}, "the value at ['a'] cannot be saved: a Level"),
        ({Colour.RED: 1}, "the key <Colour.RED: 'red'> cannot be saved"),
        ({"a": {(1, Colour.RED): 1}}, "the key (1, <Colour.RED: 'red'>) of ['a'] cannot be saved"),
        ({"a": {Colour.RED}}, "the value at ['a'] (a member of this set) cannot be saved"),
        (object(), "this cannot be saved: a object could not be read back"),
        ([Path("x")], "the value at [0] cannot be saved: a PosixPath"),
        ([frozenset([1])], "a frozenset"),
        ([bytearray(b"x")], "a bytearray"),
        ([dt.timedelta(1)], "a timedelta"),
        ([dt.time(1)], "a time"),
        ([int], "a type"),
        ([len], "a builtin_function_or_method"),
        (["\ud800"], "half of a surrogate pair"),
        ([10**5000], "an integer of that many digits"),
        (
            [dt.datetime(2001, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=30)))],
            "a time zone whose offset has seconds",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_not_be_read_back_is_refused_with_its_path(value: Any, path: str) -> None:
    """C56: a TypeError before anything is written."""
    with pytest.raises(TypeError) as caught:
        _native.yaml_dump(value)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    "value", [complex(1, float("nan")), complex(float("nan"), 1), complex(float("-inf"), -1.5)]
)
def test_complex_numbers_with_nan_read_back(value: complex) -> None:
    """C56: PyYAML writes `1.0nanj`, which nobody reads; we do not."""
    text = _native.yaml_dump(value)
    assert repr(_native.yaml_load(text.encode(), "f").value) == repr(value)
    assert repr(yaml.load(text, yaml.FullLoader)) == repr(value)  # noqa: S506


def nested(levels: int) -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_what_loading_would_refuse_is_not_written() -> None:
    """C57: nesting over 100 levels, texts over 16 MiB."""
    text = _native.yaml_dump(nested(100))
    assert _native.yaml_load(text.encode(), "f").value == nested(100)
    with pytest.raises(TypeError, match="nested more than 100 levels"):
        _native.yaml_dump(nested(101))
    with pytest.raises(TypeError, match="larger than 16 MiB"):
        _native.yaml_dump("x" * (17 << 20))


def test_an_exception_of_a_time_zone_goes_through() -> None:
    """C56: what an object of the service raises is the service's to see."""

    class Broken(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
            raise LookupError("no zone")

    with pytest.raises(LookupError, match="no zone"):
        _native.yaml_dump({"a": dt.datetime(2001, 1, 1, tzinfo=Broken())})
