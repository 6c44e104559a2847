"""The layers of the house stay apart (docs/architecture.md): every arrow points down."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "src" / "core"
BINDINGS = ROOT / "src" / "python"
PACKAGE = ROOT / "python" / "miqro"

# What does work of its own. Bindings hand work to the engine.
WORK_IN_BINDINGS = re.compile(
    r"\b(?:tokio|rumqttc|libyaml_safer|socket2|nix|fastrand|ryu)::"
    r"|\bstd::(?:net|fs|thread|process|env|os)\b"
    r"|\bthread::(?:spawn|sleep|Builder)\b"
    r"|\bSystemTime\b"
)


def rust_code(path: Path) -> str:
    """Return the source without comments, and without the text inside string literals."""
    source = path.read_text(encoding="utf-8")
    token = re.compile(r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\\n])\'', re.DOTALL)

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return "\n" * found.count("\n") if found.startswith("/") else '""'

    return token.sub(blank, source)


def places(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Return ``file:line: code`` for each line of code that has a match."""
    return [
        f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(rust_code(path).splitlines(), 1)
        if pattern.search(line)
    ]


def rust_files(folder: Path) -> list[Path]:
    """Return the Rust sources below a folder; there must be some, or a guard guards nothing."""
    found = sorted(folder.rglob("*.rs"))
    assert found, f"no Rust source below {folder}"
    return found


def test_the_engine_does_not_know_python() -> None:
    """Nothing under src/core names pyo3 or the bindings."""
    assert not places(
        re.compile(r"\b(?:pyo3|pythonize|Python|PyErr|PyObject|Py)\b|crate::python"), rust_files(CORE)
    )


def test_only_the_codec_names_rumqttc() -> None:
    """The crate that supplies the packets can be replaced behind one file."""
    others = [path for path in rust_files(ROOT / "src") if path.name != "codec.rs"]
    assert not places(re.compile(r"\brumqttc\b"), others)
    named = [path for path in rust_files(ROOT / "src") if path.name == "codec.rs"]
    assert [path.parent.name for path in named] in ([], ["session"])


@pytest.mark.parametrize(
    ("crate", "home"),
    [("libyaml_safer", "src/core/yaml"), ("socket2", "src/core/session"), ("tokio", "src/core/session")],
)
def test_each_crate_that_does_work_stands_behind_one_module(crate: str, home: str) -> None:
    """A crate that touches the world is named by its own module only."""
    elsewhere = [path for path in rust_files(ROOT / "src") if not path.is_relative_to(ROOT / home)]
    assert not places(re.compile(rf"\b{crate}\b"), elsewhere)


def test_the_bindings_translate_and_do_no_work() -> None:
    """src/python opens no socket, file or thread: it asks the engine to."""
    assert not places(WORK_IN_BINDINGS, rust_files(BINDINGS))


def test_the_bindings_reach_the_engine_by_its_name_only() -> None:
    """What src/python takes from this crate comes from crate::core or its own modules."""
    assert not places(re.compile(r"\bcrate::(?!core\b|python\b)"), rust_files(BINDINGS))


def test_unsafe_code_has_one_audited_home() -> None:
    """Descriptors and signal masks are the only reason for ``unsafe``."""
    others = [path for path in rust_files(ROOT / "src") if path != CORE / "wake.rs"]
    assert not places(re.compile(r"\bunsafe\s*(?:\{|fn|impl|extern)"), others)


def test_the_guards_see_through_comments_and_strings(tmp_path: Path) -> None:
    """A word in a comment is no use of a crate; a word in code is."""
    sample = tmp_path / "sample.rs"
    sample.write_text(
        '// pyo3\n/* pyo3\npyo3 */ let a = "pyo3"; let b = r#"pyo3"#;\nuse pyo3::x; // y\n', "utf-8"
    )
    assert places(re.compile("pyo3"), [sample]) == [f"{sample}:4: use pyo3::x;"]


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and top-level name of every absolute import that can happen, also of those inside functions."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.lineno, node.module.partition(".")[0]
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def test_the_package_needs_nothing_but_python() -> None:
    """python/miqro imports the standard library and itself: ``pip install miqro`` brings no other package.

    The plugin of pytest is imported by pytest, and by nobody else.
    """
    allowed = {*sys.stdlib_module_names, "miqro"}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in imported_modules(path)
        if name not in allowed and (path.name, name) != ("plugin.py", "pytest")
    ]
    assert not found


# What `import miqro` may bring in, on whichever Python; the last two are of older ones, for `datetime`.
IMPORTED = {"__future__", "_datetime", "datetime", "math", "operator", "_operator"}


def pythons() -> list[str]:
    """Return the interpreters of this machine that the extension is made for, first the one that runs this."""
    others = [shutil.which(f"python3.{minor}") for minor in range(10, 15)]
    # One that is on PATH may be a placeholder for one that is not installed.
    return [sys.executable] + [
        path
        for path in others
        if path and not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode
    ]


@pytest.mark.parametrize("python", pythons())
def test_importing_the_package_is_cheap(python: str) -> None:
    """``import miqro`` loads nothing that a service may never need: it takes a few milliseconds."""
    code = (
        f"import os, sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); before = set(sys.modules); import miqro\n"
        "print(*(set(sys.modules) - before))"
    )
    # Without what else is installed, for which the start of an interpreter may import much; `os` it always does.
    done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "miqro" in loaded
    assert {name for name in loaded if name.partition(".")[0] != "miqro"} - IMPORTED == set()
    assert (
        loaded & {"miqro._cli", "miqro.ha_sensors", "miqro._exit", "miqro._tasks", "miqro._config"} == set()
    )


def tracked_files() -> list[Path]:
    """Return the files of the repository; outside of a checkout (an unpacked archive) that of the folder."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    names = done.stdout.decode().split("\0") if done.returncode == 0 else []
    if not names:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_names_the_machine_it_was_written_on() -> None:
    """A path, a user or a registry of somebody's machine is of no use to anybody else."""
    # Written with brackets, or this file would be the first one found.
    pattern = re.compile(rb"/[w]ork/(?:main|shared)|/[t]mp/wt|/[h]ome/\w+/|/[r]oot/|[m]iqro-target|[p]yenv/")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.decode(errors='replace').strip()}"
        for path in tracked_files()
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def test_no_source_file_is_longer_than_a_reader_can_hold() -> None:
    """Sources stay near 500 lines, tests near 1000; a longer one wants to be two."""
    sources = [path for path in tracked_files() if path.suffix in {".rs", ".py"}]
    assert sources
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in sources}
    assert not {
        name: lines for name, lines in lengths.items() if lines > (1200 if name.startswith("tests/") else 600)
    }
