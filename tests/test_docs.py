"""What README and docs show works: Python blocks compile, and those that are whole programs are run.

A fenced block of Python is compiled. One that begins with the words ``python service`` is a service as a user
would type it: it is run against a broker, must come online, and must end cleanly on SIGTERM.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from harness import Observer, Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Broker

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```\s*$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block: where it stands, the words behind the fence, and what is in it."""

    where: str
    words: tuple[str, ...]
    code: str


def blocks_of(path: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    source = path.read_text(encoding="utf-8")
    return [
        Block(
            f"{path.relative_to(ROOT)}:{source.count(chr(10), 0, match.start()) + 1}",
            tuple(match["info"].split()),
            textwrap.dedent(match["code"]),
        )
        for match in FENCE.finditer(source)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.words[:1] == ("python",)]

SERVICES = [block for block in PYTHON if "service" in block.words]


def test_there_are_blocks_and_their_words_are_known() -> None:
    """A misspelt word would silently turn a service into a compiled one."""
    assert SERVICES
    assert {word for block in PYTHON for word in block.words} <= {"python", "service"}


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.where)
def test_python_in_the_documents_compiles(block: Block) -> None:
    """Every block is Python, also one that shows a part of a class."""
    ast.parse(block.code, block.where)


@pytest.mark.parametrize("block", SERVICES, ids=lambda block: block.where)
def test_a_service_in_the_documents_comes_online_and_ends(
    block: Block, tmp_path: Path, broker: Broker, write_config: Callable[..., Path]
) -> None:
    """A block marked ``service``, typed in as it stands, is a service (C40)."""
    name = re.search(r'SERVICE_NAME = "(\w+)"', block.code)
    assert name is not None, f"{block.where}: a service block needs a SERVICE_NAME"
    write_config(broker.port, f'services:\n  {name[1]}:\n    custom_value: "hello"\n')
    with Observer(broker.port) as observer, Script(tmp_path, block.code) as script:
        observer.wait_for(f"service/{name[1]}/online", "1")
        start = len(observer.received)
        script.terminate()
        observer.wait_for(f"service/{name[1]}/online", "0", start=start)
        script.wait().check()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    """A relative link names a file that exists."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [found.partition("#")[0] for found in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_named_in_the_documents_exist(page: Path) -> None:
    """``make something`` in a document is something make knows."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")))
    assert named <= known
