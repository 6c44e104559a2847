"""How systemd reads the units that miqro writes: enough of its syntax to check them without systemd."""

from __future__ import annotations

import re

_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t", "r": "\r", "s": " "}


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Read a unit into its sections; anything that is no comment, header or assignment is an error."""
    result: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] | None = None
    for line in text.splitlines():
        if not line or line[0] in "#;":
            continue
        assert not line.endswith("\\"), f"continued: {line}"
        if header := re.fullmatch(r"\[(\w+)\]", line):
            current = result.setdefault(header[1], [])
            continue
        assignment = re.fullmatch(r"([A-Z]\w*)=(.*)", line)
        assert assignment, f"no assignment: {line!r}"
        assert current is not None, f"outside a section: {line!r}"
        current.append((assignment[1], assignment[2].strip()))
    return result


def without_specifiers(value: str) -> str:
    """Resolve `%%`; any other specifier is an error, for miqro writes none."""
    assert not re.search(r"%(?!%)", value.replace("%%", "")), f"a specifier in {value!r}"
    return value.replace("%%", "%")


def words(value: str) -> list[str]:
    """Split a value into words, with quotes and escapes resolved."""
    result: list[str] = []
    position = 0
    while position < len(value):
        if value[position] == " ":
            position += 1
            continue
        word, quote = "", ""
        while position < len(value):
            character = value[position]
            if quote == "" and character == " ":
                break
            if character == quote:
                quote = ""
            elif quote == "" and character in "\"'":
                quote = character
            elif character == "\\":
                position += 1
                if value[position] == "x":
                    word += chr(int(value[position + 1 : position + 3], 16))
                    position += 2
                else:
                    word += _ESCAPES[value[position]]
            else:
                word += character
            position += 1
        assert quote == "", f"an open quote in {value!r}"
        result.append(without_specifiers(word))
    return result


def command(value: str) -> list[str]:
    """Split a command line; in all words but the first, `$$` is a dollar and `$` begins a variable."""
    first, *rest = words(value)
    assert first[0] == "/", f"{first} is no absolute path"
    assert not any(re.search(r"\$(?!\$)", word.replace("$$", "")) for word in rest), (
        f"a variable in {value!r}"
    )
    return [first, *(word.replace("$$", "$") for word in rest)]
