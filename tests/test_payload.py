"""Payloads, received text and topics against Python itself (C14, C31, C37)."""

from __future__ import annotations

import enum
import json
import math
import random
import struct
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from miqro import _native


def payload(message: object, precision: int | None = 5, on: object = "1", off: object = "0") -> str | bytes:
    result: str | bytes = _native.payload(message, on, off, precision)
    return result


class Color(enum.IntEnum):
    RED = 3


class Unit(str, enum.Enum):
    CELSIUS = "°C"


class Own(float):
    def __round__(self, digits: int = 0) -> Any:  # type: ignore[override]
        return f"own {digits}"


class Array:
    """What numpy's scalars look like to somebody who does not import numpy."""

    def __init__(self, kind: str, value: Any, ndim: int = 0) -> None:
        self.dtype = type("dtype", (), {"kind": kind})()
        self.ndim = ndim
        self.value = value

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("text", "text"),
        ("", ""),
        ("ä😀", "ä😀"),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (True, "1"),
        (False, "0"),
        (None, ""),
        (0, "0"),
        (-17, "-17"),
        (10**40, str(10**40)),
        (21.123456789, "21.12346"),
        (3.0, "3.0"),
        (1e16, "1e+16"),
        (0.00001, "1e-05"),
        (-0.000001, "-0.0"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (Color.RED, str(Color.RED)),
        (Unit.CELSIUS, "°C"),
        (Own(1.5), "own 5"),
    ],
)
def test_a_scalar_is_published_by_its_type(message: object, expected: str | bytes) -> None:
    """C31: text and bytes as they are, numbers in decimal, floats rounded, None empty."""
    result = payload(message)
    assert result == expected
    assert isinstance(result, type(expected))


def test_truth_is_published_as_the_services_payloads() -> None:
    """C31: PAYLOAD_ON and PAYLOAD_OFF, which are payloads themselves."""
    assert payload(True, on="ON", off="OFF") == "ON"
    assert payload(False, on="ON", off="OFF") == "OFF"
    assert payload(True, on=1, off=0) == "1"
    assert payload(False, on=1, off=None) == ""
    assert payload(True, on=b"\xff") == b"\xff"
    assert payload(False, off=0.123456789) == "0.12346"
    assert payload(True, on=True) == "True"
    with pytest.raises(TypeError, match="`list`"):
        payload(True, on=[1])


def test_a_precision_of_none_leaves_floats_as_they_are() -> None:
    """C31."""
    assert payload(0.1 + 0.2, precision=None) == "0.30000000000000004"
    assert payload(Own(0.5), precision=None) == "0.5"


def test_a_bytearray_is_copied() -> None:
    """C31: what is sent is what it held when it was published."""
    message = bytearray(b"before")
    result = payload(message)
    message[:] = b"after!"
    assert result == b"before"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Array("b", 1), "1"),
        (Array("b", 0), "0"),
        (Array("i", -5), "-5"),
        (Array("u", 2**64 - 1), str(2**64 - 1)),
        (Array("f", 23.399999618530273), "23.4"),
        (Array("f", math.nan), "nan"),
    ],
)
def test_scalars_of_numpys_kind_are_the_numbers_they_are(message: object, expected: str) -> None:
    """C31: recognised by protocol, without numpy."""
    assert payload(message) == expected


def test_numpy_scalars_are_the_numbers_they_are() -> None:
    """C31, with numpy itself where it is installed."""
    numpy = pytest.importorskip("numpy")
    for kind in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]:
        assert payload(getattr(numpy, kind)(100)) == "100"
    for kind in ["float16", "float32", "float64", "longdouble"]:
        assert payload(getattr(numpy, kind)(2.5)) == "2.5"
    assert payload(numpy.float32(23.4)) == "23.4"
    assert payload(numpy.bool_(True)) == "1"
    assert payload(numpy.bool_(False)) == "0"
    assert payload(numpy.str_("ä")) == "ä"
    assert payload(numpy.array(7)) == "7"
    for message in (numpy.array([1]), numpy.complex64(1), numpy.datetime64("2020-01-01")):
        with pytest.raises(TypeError, match=type(message).__name__):
            payload(message)


@pytest.mark.parametrize(
    "message",
    [{}, [], (), {1}, object(), 1j, Decimal(1), Fraction(1, 2), Array("f", 1, ndim=1), Array("c", 1), type],
)
def test_anything_else_is_a_type_error_that_names_the_type(message: object) -> None:
    """C31: and says what to do."""
    with pytest.raises(TypeError, match=rf"`.*\b{type(message).__name__}`.* with str\(\)"):
        payload(message)


def samples() -> list[float]:
    """Floats of every size and bit pattern, and the neighbourhood of ties."""
    rng = random.Random(20)
    values = [rng.uniform(-1000, 1000) for _ in range(20_000)]
    values += [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(20_000)]
    values += [rng.randrange(10**9) / 10 ** rng.randrange(9) for _ in range(10_000)]
    values += [float(rng.randrange(10 ** rng.randrange(1, 20))) for _ in range(5_000)]
    values += [rng.uniform(0.99, 1.01) * 10.0**n for n in range(-30, 30) for _ in range(50)]
    for _ in range(5_000):
        tie = (rng.randrange(10 ** rng.randrange(1, 16)) + 0.5) / 10 ** rng.randrange(10)
        values += [tie, math.nextafter(tie, 0), math.nextafter(tie, math.inf), -tie]
    values += [n / 8 for n in range(-4000, 4000)]  # These are ties themselves.
    values += [10.0**n for n in range(-323, 309)] + [2.0**n for n in range(-1074, 1024)]
    return values


SAMPLES = samples()


@pytest.mark.parametrize(
    "precision", [None, *range(8), 9, 12, 14, 15, 16, 17, 21, 22, 23, 30, 100, 308, 323, 324]
)
def test_floats_are_rounded_and_written_as_python_does(precision: int | None) -> None:
    """C31, C32: `repr(round(x, n))` over 90,000 floats."""
    values = SAMPLES if precision is None or precision < 9 else SAMPLES[::7]
    expected = [repr(x if precision is None else round(x, precision)) for x in values]
    names = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}
    written = _native.json_dumps(values, precision)[1:-1].split(", ")
    assert [names.get(text, text) for text in written] == expected
    for x, text in list(zip(values, expected, strict=True))[::10]:
        assert payload(x, precision) == text


@pytest.mark.parametrize("precision", [-1, -2, -3, -5, -15, -16, -20, -100, -307, -308, -309, -1000])
def test_negative_precisions_round_as_python_does(precision: int) -> None:
    """C31, C32: to tens and hundreds, also of floats of 309 digits."""
    for x in SAMPLES[::7]:
        try:
            expected = repr(round(x, precision))
        except OverflowError:
            with pytest.raises(OverflowError):
                payload(x, precision)
        else:
            assert payload(x, precision) == expected


@settings(max_examples=3000, deadline=None)
@given(st.floats(), st.integers(-330, 330))
@example(1.7976931348623157e308, -308)
@example(4503599627370495.5, 0)
@example(0.49999999999999994, 0)
@example(9.995, 2)
def test_any_float_rounds_as_python_does(x: float, precision: int) -> None:
    """C31, C32: floats found by hypothesis."""
    try:
        expected = str(round(x, precision))
    except OverflowError:
        expected = "OverflowError"
    try:
        result = payload(x, precision)
    except OverflowError:
        result = "OverflowError"
    assert result == expected


def test_every_code_point_is_stripped_or_kept_as_python_does() -> None:
    """C14: all 1,112,064 of them."""
    wrong = []
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code <= 0xDFFF:
            text = f"{chr(code)}a{chr(code)}b{chr(code)}"
            if _native.payload_text(text.encode()) != text.strip():
                wrong.append(hex(code))
    assert wrong == []


def decoded(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").strip()


@settings(max_examples=3000, deadline=None)
@given(st.binary())
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xc0\xaf\xe0\x80")
@example(b"")
def test_any_bytes_are_decoded_as_python_does(data: bytes) -> None:
    """C14: malformed bytes are replaced."""
    assert _native.payload_text(data) == decoded(data)


def test_almost_valid_bytes_are_decoded_as_python_does() -> None:
    """C14: 100,000 sequences of the bytes at which UTF-8 branches."""
    rng = random.Random(14)
    alphabet = bytes.fromhex(
        "20 61 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff 1c 0a"
    )
    for _ in range(100_000):
        data = bytes(rng.choices(alphabet, k=rng.randrange(8)))
        assert _native.payload_text(data) == decoded(data)


@pytest.mark.parametrize("topic", ["a", "/", "service/x/online", "ä/😀", "$SYS/a", " ", "x" * 65_535])
def test_a_valid_topic_passes(topic: str) -> None:
    """C37."""
    _native.check_topic(topic)


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("", "the topic is empty"),
        ("a/+/b", r"`a/\+/b` contains `\+`"),
        ("a/#", "`a/#` contains `#`"),
        ("a\0b", r"`a\\0b` contains a NUL"),
        ("x" * 65_536, "65536 bytes"),
        ("ä" * 32_768, "65536 bytes"),
        ("a\ud800", r"'a\\ud800' contains half a surrogate pair"),
    ],
)
def test_an_invalid_topic_is_a_value_error_that_says_why(topic: str, words: str) -> None:
    """C37: empty, wildcard, NUL, over 65,535 bytes."""
    with pytest.raises(ValueError, match=words) as error:
        _native.check_topic(topic)
    assert len(str(error.value)) < 300


def test_json_and_scalar_floats_agree() -> None:
    """C31, C32: one value has one text, alone and in JSON."""
    for x in SAMPLES[::50]:
        if math.isfinite(x):
            assert payload(x, 5) == json.dumps(round(x, 5))
