"""The JSON writer against `json.dumps`: byte for byte, or the same refusal (C32)."""

from __future__ import annotations

import collections
import enum
import json
import math
import random
import sys
import threading
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miqro import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def round_floats(obj: Any, precision: int | None) -> Any:
    """What the writer is compared with: every float of dict values, lists and tuples rounded."""
    if precision is None:
        return obj
    if isinstance(obj, float):
        return round(obj, precision)
    if isinstance(obj, dict):
        return {key: round_floats(value, precision) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [round_floats(item, precision) for item in obj]
    return obj


def outcome(function: Callable[[], str]) -> str | type[BaseException]:
    try:
        return function()
    except Exception as err:
        return type(err)


def assert_same(obj: Any, precision: int | None = None) -> None:
    expected = outcome(lambda: json.dumps(round_floats(obj, precision)))
    assert outcome(lambda: _native.json_dumps(obj, precision)) == expected


class Color(enum.IntEnum):
    RED = 1


class Unit(str, enum.Enum):
    CELSIUS = "°C"


class Level(float, enum.Enum):
    HALF = 0.123456


class LoudInt(int):
    def __repr__(self) -> str:
        return "loud"

    __str__ = __repr__


class LoudFloat(float):
    def __repr__(self) -> str:
        return "loud"

    __str__ = __repr__


class OwnRound(float):
    def __round__(self, digits: int = 0) -> Any:  # type: ignore[override]
        return {"digits": digits, "unrounded": 0.123456789}


class LoudStr(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "loud"

    def encode(self, *_: Any) -> bytes:
        return b"loud"


class Point(NamedTuple):
    x: float
    y: float


class Backwards(list):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return reversed(self)


class Doubled(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return [(key, [value, value]) for key, value in super().items()]


class Repeating(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return [("a", 1.123456789), ("a", 2)]


class BrokenItems(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return ["abc"]


HARD_CASES = {
    "empty containers": [{}, [], (), "", [[]], {"a": {}}],
    "constants": [None, True, False],
    "integers": [0, -1, 2**31, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**100, -(10**100)],
    "an integer with too many digits to print": 10**5000,
    "not numbers": [math.nan, math.inf, -math.inf],
    "floats at the ends of the fixed layout": [
        1e15,
        9999999999999998.0,
        1e16,
        1e17,
        1e22,
        1e-4,
        1e-5,
        9.9e-5,
    ],
    "floats at the ends of their range": [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -0.0, 0.0],
    "near ties": [2.675, 0.125, 0.375, 1.005, 0.5, 1.5, 2.5, -2.5, 619788025924319.25, 0.000005, 0.000015],
    "strings": [
        "",
        "a",
        '"\\/',
        "\b\f\n\r\t",
        "".join(map(chr, range(0x180))),
        "\u2028\uffff",
        "😀\U0010ffff",
    ],
    "lone surrogates": [
        "\ud800",
        "a\udfffb",
        "\udc00\ud800",
        '\ud800"\\\n\x7f😀',
        {"\udabc": "\ud83d\ude00"},
    ],
    "keys": {"s": 1, 2: 2, 1.5: 3, True: 4, None: 5, 2**70: 6, math.inf: 7, 1e16: 8, 0.123456789: 9},
    "keys that become the same": {1: "a", "1": "b", None: 1, "null": 2, False: 3, "false": 4},
    "a not-a-number key": {math.nan: 1, -math.inf: 2},
    "key subclasses": {Unit.CELSIUS: 1, Color.RED: 2, LoudInt(5): 3, LoudFloat(0.5): 4, LoudStr("k"): 5},
    "integer subclasses": [Color.RED, LoudInt(7), LoudInt(2**80)],
    "float subclasses": [Level.HALF, LoudFloat(0.123456789), LoudFloat("nan"), LoudFloat(1e16)],
    "a float that rounds in its own way": [OwnRound(1.5), 0.123456789],
    "string subclasses": [Unit.CELSIUS, LoudStr("quiet"), LoudStr("\ud800")],
    "tuples": (1, (2.123456789,), Point(0.123456789, 2)),
    "list subclasses": Backwards([1, 2.123456789, [3]]),
    "dict subclasses": [
        collections.OrderedDict(b=1, a=2.123456789),
        collections.defaultdict(int, a=1),
        collections.Counter("aab"),
        Doubled(a=0.123456789),
        Doubled(),
        Repeating(a=0),
        Repeating(),
    ],
    "a dict whose items are no pairs": BrokenItems(a=1),
    "one object in two places": [[0.123456789]] * 3,
    "nested": {"a": [{"b": ({"c": [1.23456789, None]},)}]},
}


@pytest.mark.parametrize(
    "precision", [None, 0, 1, 2, 4, 5, 15, 17, 22, 23, 50, 323, 324, -1, -2, 10**30, -(10**30)]
)
@pytest.mark.parametrize("name", HARD_CASES)
def test_hard_cases_are_written_as_json_dumps_does(name: str, precision: int | None) -> None:
    """C32: numbers, text, keys and subclasses at their edges."""
    assert_same(HARD_CASES[name], precision)


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: {"a": (x,)}], ids=["bare", "list", "dict"]
)
@pytest.mark.parametrize(
    "obj", [object(), {1, 2}, b"bytes", 1j, bytearray(b"x"), range(3), types.MappingProxyType({})]
)
def test_what_json_refuses_is_refused_in_the_same_words(
    obj: object, wrap: Callable[[object], object]
) -> None:
    """C32: the same exception type, and here the same text."""
    with pytest.raises(TypeError) as expected:
        json.dumps(wrap(obj))
    for precision in (None, 5):
        with pytest.raises(TypeError) as got:
            _native.json_dumps(wrap(obj), precision)
        assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("key", [(1, 2), b"k", object(), frozenset()])
def test_a_key_that_is_no_scalar_is_a_type_error_that_names_its_type(key: object) -> None:
    """C32: keys must be str, int, float, bool or None."""
    with pytest.raises(TypeError) as expected:
        json.dumps({key: 1})
    with pytest.raises(TypeError) as got:
        _native.json_dumps({key: 1})
    assert str(got.value) == str(expected.value)


def test_a_container_that_contains_itself_is_a_value_error() -> None:
    """C32: as in `json.dumps`, however it is nested."""
    in_list: list[Any] = [1]
    in_list.append({"again": (in_list,)})
    in_dict: dict[str, Any] = {"a": {}}
    in_dict["a"]["b"] = in_dict
    in_subclass = collections.OrderedDict[str, Any]()
    in_subclass["a"] = [in_subclass]
    for obj in (in_list, in_dict, in_subclass):
        for precision in (None, 5):
            with pytest.raises(ValueError, match="Circular reference detected"):
                _native.json_dumps(obj, precision)


WRAPS: dict[str, Callable[[object], object]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"k": inner},
    "list subclass": lambda inner: Backwards([inner]),
    "dict subclass": lambda inner: collections.OrderedDict(k=inner),
    "mapping": lambda inner: types.MappingProxyType({"k": inner}),
}


@pytest.mark.parametrize("precision", [None, 5])
@pytest.mark.parametrize("wrap", WRAPS)
def test_nesting_beyond_all_measure_is_a_recursion_error_not_a_crash(
    wrap: str, precision: int | None, small_stack: Callable[[Callable[[], None]], None]
) -> None:
    """C32: 1,000 levels are written, 1,001 refused, also on a thread with a small stack."""
    deep: object = 1.5
    for _ in range(1_000):
        deep = WRAPS[wrap](deep)
    deeper = WRAPS[wrap](deep)
    results: list[str] = []

    def encode() -> None:
        results.append(_native.json_dumps(deep, precision, mappings=True))
        with pytest.raises(RecursionError):
            _native.json_dumps(deeper, precision, mappings=True)

    encode()
    small_stack(encode)
    assert results[0] == results[1]
    assert results[0].count("[") + results[0].count("{") == 1_000


@pytest.fixture
def small_stack() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Runs a function on a thread with a stack of 256 KiB."""
    before = threading.stack_size(256 * 1024)

    def run(function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    yield run
    threading.stack_size(before)


def test_a_dict_that_changes_while_it_is_written_is_a_runtime_error() -> None:
    """C32: as a comprehension over its items would say, not a panic of the engine."""
    changing: dict[str, object] = {}

    class Meddler(float):
        def __round__(self, _digits: int = 0) -> Any:  # type: ignore[override]
            changing["more"] = 1
            return 1.0

    changing["a"] = Meddler(1.5)
    changing["b"] = 2
    with pytest.raises(RuntimeError, match="changed size during iteration"):
        _native.json_dumps(changing, 5)


def test_an_exception_of_the_objects_own_comes_through() -> None:
    """C32: what `items`, `__iter__` or `__round__` raises is raised."""

    class Angry(float):
        def __round__(self, _digits: int = 0) -> Any:  # type: ignore[override]
            raise LookupError("not today")

    with pytest.raises(LookupError, match="not today"):
        _native.json_dumps({"a": [Angry(1)]}, 5)
    assert _native.json_dumps([Angry(1)]) == "[1.0]"


def test_rounding_out_of_range_is_an_overflow_error() -> None:
    """C32: `round(1.7e308, -308)` raises OverflowError, and so does the writer."""
    assert_same([1.7e308], -308)
    with pytest.raises(OverflowError):
        _native.json_dumps([1.7e308], -308)


@pytest.mark.parametrize("precision", ["5", 1.5, [5]])
def test_a_precision_that_is_no_integer_is_a_type_error(precision: Any) -> None:
    """C32: as `round` does."""
    with pytest.raises(TypeError):
        _native.json_dumps([1.5], precision)


def test_other_mappings_are_written_as_dicts_where_asked_for() -> None:
    """C31: other mappings are turned into dict, at any depth; without the flag they are refused as by json."""
    inner = types.MappingProxyType({"b": 1.23456789, 2: None})
    obj = [collections.ChainMap[str, Any]({"a": inner}, {"c": (inner,)})]
    assert _native.json_dumps(obj, 5, mappings=True) == json.dumps(
        [{"c": [{"b": 1.23457, "2": None}], "a": {"b": 1.23457, "2": None}}]
    )
    with pytest.raises(TypeError, match="Object of type ChainMap is not JSON serializable"):
        _native.json_dumps(obj, 5)
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        _native.json_dumps([set()], 5, mappings=True)


def test_json_key_is_the_text_that_json_gives_a_key() -> None:
    """C33: a key that is no string becomes the text that JSON would give it."""
    for key in (1, -(2**70), 1.5, 1e16, math.nan, True, None, "text", "ä\ud800", Color.RED, Unit.CELSIUS):
        expected = (
            key
            if isinstance(key, str)
            else json.loads(json.dumps({key: 0}), object_pairs_hook=lambda it: it[0][0])
        )
        assert _native.json_key(key) == expected
    with pytest.raises(TypeError, match="keys must be str, int, float, bool or None, not tuple"):
        _native.json_key((1,))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**130), 2**130),
    st.floats(),
    st.decimals(-1000, 1000, places=6).map(float),
    st.text(st.characters(codec=None)),
    st.sampled_from([Color.RED, Unit.CELSIUS, Level.HALF, LoudInt(3), LoudFloat(0.1234567), LoudStr("x")]),
)
KEYS = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())
OBJECTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner),
        st.dictionaries(KEYS, inner).map(collections.OrderedDict),
    ),
    max_leaves=12,
)
PRECISIONS = st.one_of(st.none(), st.integers(-3, 20), st.integers(-400, 400))


@settings(max_examples=1500, deadline=None)
@given(OBJECTS, PRECISIONS)
def test_any_object_is_written_as_json_dumps_does(obj: object, precision: int | None) -> None:
    """C32: objects found by hypothesis, which shrinks what fails."""
    assert_same(obj, precision)


def random_text(rng: random.Random) -> str:
    top = rng.choice((0x7F, 0x7F, 0x7F, 0xFF, 0xFFFF, 0x10FFFF))
    return "".join(chr(rng.randrange(top + 1)) for _ in range(rng.randrange(8)))


def random_float(rng: random.Random) -> float:
    kind = rng.randrange(5)
    if kind == 0:
        return rng.uniform(-1000, 1000)
    if kind == 1:
        return float(rng.randrange(-(10**7), 10**7) / 10 ** rng.randrange(8))
    if kind == 2:  # Near a tie, from both sides.
        tie = (rng.randrange(10**6) + 0.5) / 10 ** rng.randrange(7)
        return rng.choice((tie, math.nextafter(tie, 0), math.nextafter(tie, math.inf)))
    if kind == 3:
        return rng.uniform(-1, 1) * 10.0 ** rng.randrange(-320, 308)
    return rng.choice((math.nan, math.inf, -math.inf, 0.0, -0.0, 1e16, 1e-5, 5e-324))


def random_object(rng: random.Random, depth: int) -> object:
    kind = rng.randrange(11 if depth else 7)
    if kind <= 2:
        return random_float(rng)
    if kind == 3:
        return random_text(rng)
    if kind == 4:
        return rng.choice((None, True, False, Color.RED, LoudFloat(0.1234567), LoudStr("\xff")))
    if kind <= 6:
        return rng.randrange(-(10 ** rng.randrange(1, 30)), 10 ** rng.randrange(1, 30))
    size = rng.randrange(4)
    if kind == 7:
        return [random_object(rng, depth - 1) for _ in range(size)]
    if kind == 8:
        return tuple(random_object(rng, depth - 1) for _ in range(size))
    keys = (
        random_text,
        random_text,
        random_float,
        lambda rng: rng.randrange(10),
        lambda rng: rng.choice((None, True)),
    )
    return {rng.choice(keys)(rng): random_object(rng, depth - 1) for _ in range(size)}


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_a_hundred_thousand_objects_are_written_as_json_dumps_does(seed: int) -> None:
    """C32: 500 seeds of 200 objects each; a seed that fails is printed, and repeats."""
    rng = random.Random(seed)
    for _ in range(200):
        assert_same(random_object(rng, 4), rng.choice((None, 0, 1, 2, 4, 5, 5, 5, 9, 15, 20, 25, -1, -4)))


def test_writing_leaks_no_reference() -> None:
    """C32: neither on success nor on failure."""
    marker = object()
    value = [0.5]
    for obj in ({"a": [value, value]}, [value, marker]):
        before = sys.getrefcount(value), sys.getrefcount(marker)
        for _ in range(100):
            outcome(lambda obj=obj: _native.json_dumps(obj, 5))  # type: ignore[misc]
        assert (sys.getrefcount(value), sys.getrefcount(marker)) == before
