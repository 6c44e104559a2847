"""The YAML reader against PyYAML's FullLoader (contract C57): the same values, or the same refusal."""

from __future__ import annotations

import datetime as dt
import math
import random
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from miqro import _native
from miqro._errors import ConfigError, MiqroError
from yaml_corpus import documents

if TYPE_CHECKING:
    from collections.abc import Callable


class Difference(NamedTuple):
    """A text that PyYAML reads and we do not, on purpose or for want of a way."""

    name: str
    why: str
    example: str
    #: Recognises our refusal, and the text it is about.
    applies: Callable[[str, str], bool]


DIFFERENCES = [
    Difference(
        "python names",
        "C57 refuses them: a file must not reach into the interpreter",
        "!!python/name:os.system",
        lambda _, error: "!!python/name:" in error,
    ),
    Difference(
        "deep nesting",
        "C57 refuses more than 100 levels",
        "[" * 101 + "]" * 101,
        lambda _, error: "nested more than 100 levels" in error,
    ),
    Difference(
        "half a surrogate pair",
        "it is no character, and no text with it can be sent or saved",
        r'"\ud83d"',
        lambda text, error: bool(re.search(r"\\[uU]", text)) and "names no Unicode character" in error,
    ),
    Difference(
        "digits outside ASCII",
        "Python's int() takes them after an explicit !!int or !!float; no plain scalar is a number for them",
        '!!int "٣"',
        lambda text, error: not text.isascii() and "is not a valid" in error,
    ),
    Difference(
        "unknown directives",
        "PyYAML skips lines that begin with '%'; a file of ours has none, so this is a mistake",
        "%FOO bar\n--- a",
        lambda _, error: "found unknown directive name" in error,
    ),
    Difference(
        "other YAML 1.x versions",
        "PyYAML takes any %YAML 1.x, libyaml 1.1 and 1.2",
        "%YAML 1.9\n--- a",
        lambda _, error: "the %YAML line" in error,
    ),
    Difference(
        "a lone question mark in a flow sequence",
        "PyYAML makes [{None: None}] of [?]; libyaml loses the bracket",
        "[a, ?]",
        lambda text, error: "?" in text and "a '?' in '[...]' without a key after it" in error,
    ),
    Difference(
        "a block text whose first line begins with a tab",
        "libyaml cannot tell its indentation; with an indentation indicator ('|2') it is read",
        "a: |\n  \tx\n",
        lambda text, error: "\t" in text and "a tab stands where indentation is expected" in error,
    ),
    Difference(
        "keys over 1024 bytes",
        "PyYAML counts characters, libyaml bytes; both refuse longer ones",
        "é" * 600 + ": 1",
        lambda text, error: not text.isascii() and len(text) > 512 and "second ':'" in error,
    ),
    Difference(
        "a second byte order mark",
        "libyaml skips it at the start of a line, for PyYAML it is text; nobody sees it",
        "\ufeff\ufeff: 1",
        lambda text, _: "\ufeff" in text[1:],
    ),
    Difference(
        "long base 60 numbers",
        "over 4300 characters; PyYAML needs quadratic time for them",
        "1:" + "30:" * 1500 + "30",
        lambda text, error: len(text) > 4300 and "is not a valid whole number" in error,
    ),
]


def shape(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Return a value with its types, its order and its shared identities, to be compared with ==."""
    seen = {} if seen is None else seen
    if isinstance(value, (list, dict, set, tuple)):
        if id(value) in seen:
            return "the same as", seen[id(value)]
        seen[id(value)] = len(seen)
    name = type(value).__name__
    if isinstance(value, (list, tuple)):
        return name, [shape(item, seen) for item in value]
    if isinstance(value, set):
        return name, sorted(repr(shape(item, seen)) for item in value)
    if isinstance(value, dict):
        return name, [(shape(key, seen), shape(item, seen)) for key, item in value.items()]
    return name, repr(value)


def theirs(data: bytes) -> tuple[bool, Any]:
    """Read with PyYAML: whether it was read, and the shape of the value or the error."""
    try:
        return True, shape(yaml.load(data, yaml.FullLoader))  # noqa: S506 - what 1.x uses
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"


def ours(data: bytes) -> tuple[bool, Any]:
    """Read with miqro: whether it was read, and the shape of the value or the error."""
    try:
        return True, shape(_native.yaml_load(data, "test.yml").value)
    except ConfigError as error:
        return False, str(error)


def compare(text: str) -> str | None:
    """Return the name of the difference that shows in a text, if one does; fail on a difference without a name."""
    data = text.encode()
    expected, found = theirs(data), ours(data)
    if expected == found or (not expected[0] and not found[0]):
        return None
    if not found[0]:
        for difference in DIFFERENCES:
            if difference.applies(text, found[1]):
                return difference.name
    pytest.fail(f"{text!r}\nPyYAML: {expected}\nmiqro:  {found}")


def test_the_corpus_is_read_as_pyyaml_reads_it() -> None:
    """C57: 4,800 texts, each scalar in many contexts; the differences that show have a name."""
    texts = documents()
    assert len(texts) >= 500
    shown = {name for name in map(compare, texts) if name}
    assert shown <= {difference.name for difference in DIFFERENCES}


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_each_difference_exists(difference: Difference) -> None:
    """C57: a named difference that has gone must go from the list."""
    data = difference.example.encode()
    expected, found = theirs(data), ours(data)
    assert expected[0] or difference.name == "deep nesting"
    assert expected != found
    assert difference.applies(difference.example, found[1] if not found[0] else "")


@pytest.mark.parametrize("text", ["a: é\n", "[1, '\u2028', \U0001f600]", "", "yes"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_byte_order_marks_tell_the_encoding(text: str, encoding: str) -> None:
    """C57: UTF-16 needs its mark, as with PyYAML; UTF-8 may have one."""
    marked = "\ufeff" + text if encoding.startswith("utf-16-") else text
    data = marked.encode(encoding)
    assert ours(data) == theirs(data)
    assert ours(data)[0]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"a: \xc3",
        b"\xff\xfea",
        b"\xfe\xff\xd8\x00",
        b"\xed\xa0\x80",
        b"a\x00b",
        b"\x7f",
        b"\xc2\x80",
    ],
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    """C57: both refuse broken encodings and control characters."""
    assert not theirs(data)[0]
    assert not ours(data)[0]


_texts = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="-?:,[]{}#&*!|>'\"%@` \n\t~=<.+_\\/0aé\x85\u2028\ufeff", max_size=12),
    st.sampled_from(
        ["yes", "010", "1:30", "~", "null", "=", "<<", "a: b", "2001-01-01", "1e3", "1.0e+3", "w " * 60]
    ),
)
_zones = st.builds(dt.timezone, st.integers(-1439, 1439).map(lambda minutes: dt.timedelta(minutes=minutes)))
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(allow_nan=False),
    _texts,
    st.binary(max_size=70),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=_zones),
)
_keys = st.one_of(_scalars, st.tuples(_scalars, _scalars))
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(_keys, inner, max_size=4),
        st.sets(_keys, max_size=3),
        inner.map(lambda value: [value, value]),
    ),
    max_leaves=12,
)
_styles = st.fixed_dictionaries(
    {
        "default_flow_style": st.sampled_from([None, True, False]),
        "default_style": st.sampled_from([None, None, "'", '"', "|", ">"]),
        "width": st.sampled_from([20, 80, 1000]),
        "indent": st.sampled_from([2, 4, 8]),
        "allow_unicode": st.booleans(),
        "explicit_start": st.booleans(),
        "canonical": st.sampled_from([False, False, False, True]),
        "line_break": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)


def dumped(value: Any, style: dict[str, Any]) -> str | None:
    """Return what PyYAML writes, or None where it holds half a surrogate pair, which is no text."""
    text = yaml.dump(value, **style)
    return None if re.search("[\ud800-\udfff]", text) else text


@settings(max_examples=600, deadline=None)
@given(_values, _styles)
def test_dumps_in_all_styles_are_read_as_pyyaml_reads_them(value: Any, style: dict[str, Any]) -> None:
    """C57: random data, written by PyYAML in every style it has."""
    if (text := dumped(value, style)) is not None:
        compare(text)


_MUTATIONS = [
    *"abc01:-?,[]{}#&*!|>'\"%@` \n\t~=<.+_\\/Ux",
    "\r\n",
    "\u2028",
    "\x85",
    "é",
    "--- ",
    "...",
    "<<: ",
]
_MUTATIONS += [
    "&a ",
    "*a",
    "*id001",
    "!!",
    "!!str ",
    "!!int ",
    "!!set",
    "!!python/tuple ",
    "- ",
    "? ",
    ": ",
    "  ",
    "\n  ",
]
_MUTATIONS += ["|\n ", ">-\n ", "%YAML 1.1\n", "%TAG ! x\n", "{a:[", "\n\n"]


def mutated(text: str, chance: random.Random) -> str:
    """Return the text with a few insertions, deletions and replacements."""
    for _ in range(chance.randint(1, 4)):
        place, kind = chance.randint(0, len(text)), chance.random()
        cut = 0 if kind < 0.4 else chance.randint(1, 3)
        text = text[:place] + ("" if 0.4 <= kind < 0.7 else chance.choice(_MUTATIONS)) + text[place + cut :]
    return text


@settings(max_examples=1500, deadline=None)
@given(_values, _styles, st.integers(0, 2**32))
def test_mutated_texts_are_read_or_refused_as_by_pyyaml(value: Any, style: dict[str, Any], seed: int) -> None:
    """C57: the same values or the same refusal for texts that are nearly right."""
    if (text := dumped(value, style)) is not None:
        compare(mutated(text, random.Random(seed)))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """C57: no input does more than raise ConfigError."""
    ours(data)


def test_aliases_share_identity_and_may_be_recursive() -> None:
    """C57: anchors and aliases give one object, as with PyYAML."""
    value = _native.yaml_load(b"a: &x [1]\nb: *x\nc: &y {me: *y}\nd: &z !!python/tuple [[*z]]\n", "f").value
    assert value["a"] is value["b"]
    assert value["c"]["me"] is value["c"]
    assert value["d"][0][0] is value["d"]


def test_values_are_live_and_plain() -> None:
    """C57: what is read are exact types, which the caller may change; each read makes new ones."""
    document = _native.yaml_load(b"{a: [1, 2.5, x, ~, yes, 2001-01-01, !!set {k}]}", "f")
    assert document.value is document.value
    assert [type(item) for item in document.value["a"]] == [
        int,
        float,
        str,
        type(None),
        bool,
        dt.date,
        set,
    ]
    document.value["b"] = 1
    assert document.value == {"a": document.value["a"], "b": 1}


def test_marks_are_lines_and_columns_from_one() -> None:
    """C57: a path of keys and positions leads to the place of a value, or of its key."""
    document = _native.yaml_load(b"a:\n  - b: [x, y]\n1: {null: n, true: t}\n", "f")
    assert document.mark(()) == (1, 1)
    assert document.mark(("a", 0, "b", 1)) == (2, 12)
    assert document.key_mark(("a", 0, "b")) == (2, 5)
    assert document.mark((1, None)) == (3, 11)
    assert document.mark((1, True)) == (3, 20)
    assert document.mark(("a", "b")) is None
    assert document.mark(("a", 5)) is None
    assert document.mark(("nothing",)) is None
    assert document.mark((object(),)) is None
    assert _native.yaml_load(b"", "f").mark(()) is None


def test_of_equal_keys_the_last_one_wins_and_the_first_one_stays() -> None:
    """C57: 1, 1.0 and True are one key, as in any dict."""
    value = _native.yaml_load(b"{1: a, true: b, 1.0: c}", "f").value
    assert value == {1: "c"}
    assert type(next(iter(value))) is int


def test_errors_are_config_errors_with_a_place_and_an_advice() -> None:
    """C57: `file:line:column: what, and what to do`; values of the file are not quoted."""
    with pytest.raises(ConfigError) as caught:
        _native.yaml_load(b"a: 1\npassword: !!float hunter2\n", "dir/miqro.yml")
    text = str(caught.value)
    assert text.startswith("dir/miqro.yml:2:11: this is read as !!float and is not a valid number; ")
    assert "hunter2" not in text
    assert isinstance(caught.value, MiqroError)
    assert isinstance(caught.value, ValueError)


def test_huge_documents_and_expansions_are_refused_quickly() -> None:
    """C57: over 16 MiB, or aliases and merges that expand to over 10^7 nodes."""
    assert "larger than 16 MiB" in ours(b"#" * (16 * 2**20 + 1))[1]
    assert ours(b"#" * (16 * 2**20)) == (True, ("NoneType", "None"))
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "more than 10000000 values" in ours(laughs.encode())[1]
    merges = "m0: &m0 {k: 1}\n" + "".join(
        f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: 1}}\n" for n in range(1, 60)
    )
    assert "more than 10000000 values" in ours(merges.encode())[1]
    assert (
        "more than 100 %TAG lines" in ours(b"".join(b"%%TAG !a%d! x\n" % n for n in range(200)) + b"--- a")[1]
    )


def test_a_panic_of_the_parser_prints_nothing() -> None:
    """C57: what the parser cannot cope with is an error, and standard error stays clean."""
    program = (
        "from miqro import _native\n"
        "import random\n"
        "chance = random.Random(5)\n"
        "for _ in range(3000):\n"
        "    text = ''.join(chance.choices('%-:|>!&* \\n\\t\"ab<=', k=chance.randint(1, 12)))\n"
        "    try:\n"
        "        _native.yaml_load(text.encode(), 'f')\n"
        "    except ValueError:\n"
        "        pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_documents_are_read_from_many_threads_at_once() -> None:
    """C57: reading shares nothing."""
    found: list[Any] = []

    def read() -> None:
        found.extend(_native.yaml_load(b"{a: [1, 2.5, 'x']}", "f").value for _ in range(200))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [{"a": [1, 2.5, "x"]}] * 800


@pytest.mark.parametrize("power", [1, 5, 13, 14, 20, 100, 173])
def test_base_60_floats_are_rounded_once(power: int) -> None:
    """C57: 60 to a high power is exact in Python before it becomes a float."""
    text = "1" + ":0" * power + "."
    value = _native.yaml_load(text.encode(), "f").value
    assert value == yaml.load(text, yaml.FullLoader)  # noqa: S506
    assert value == float(60**power)
    assert math.isfinite(value)
