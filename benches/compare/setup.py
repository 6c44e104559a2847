"""What a run needs: an optimised build of ours, the interpreters of the others, a native client, a broker."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = Path(__file__).resolve().parent / "clients"
CACHE = ROOT / ".cache" / "bench"
#: Beside what the broker of the tests has, which sends small packets at once: without any bound, mosquitto closes the
#: connection of a publisher that is too quick for it at QoS 2.
BROKER_OPTIONS = ("max_queued_messages 10000000",)

MIQRO, ORIGINAL, PAHO, GMQTT = "miqro", "miqro 1.3.0", "paho 2", "gmqtt"
RUMQTTC, MOSQUITTO, PYTHON = "rumqttc", "mosquitto", "Python"
#: In the order of the table's columns.
EVERYBODY = (MIQRO, ORIGINAL, PAHO, GMQTT, RUMQTTC, MOSQUITTO, PYTHON)


class BenchError(Exception):
    """The run, or one step of it, cannot go on; the text is for the person who started it."""


def refuse_slow_builds(native: Any) -> None:
    """Only what users get is measured.

    Raises:
        BenchError: It is another build; the text says how to get the right one.
    """
    remedy = "Run `make bench`, which builds the right one, or `make PROFILE=release build`."
    if native.DEBUG_BUILD:
        raise BenchError(
            f"The extension is a debug build, ten times slower than what users have: no measure. {remedy}"
        )
    profile = getattr(native, "BUILD_PROFILE", "unknown")
    if profile != "release":
        raise BenchError(
            f"The extension was built with the profile {profile!r}, not with `release` as users have it: no measure. "
            f"{remedy}"
        )


@dataclass(frozen=True)
class Setup:
    """Where everything is.

    Attributes:
        port: The broker's.
        folder: For whatever clients write; each run of one has its own below it.
        pythons: The interpreter of each client that is a Python program.
        native: The rumqttc client.
        scale: How much of the usual number of messages there is, and of the seconds: 1, or less for a quick run.
    """

    port: int
    folder: Path
    pythons: dict[str, str]
    native: Path
    scale: float

    def count(self, usual: int, least: int = 20) -> int:
        """How many messages, calls or pairs in place of so many."""
        return max(int(usual * self.scale), min(least, usual))

    def seconds(self, usual: float) -> float:
        """How long in place of so long."""
        return max(usual * self.scale, 0.2)

    def own_folder(self, name: str = "bench") -> Path:
        """A new folder with a configuration for the service of that name."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        (folder / "miqro.yml").write_text(
            f"broker: {{host: 127.0.0.1, port: {self.port}}}\nservices: {{{name}: {{}}}}\n", encoding="utf-8"
        )
        return folder


def mosquitto_client(name: str) -> str | None:
    """Where mosquitto's own client of that name is, if it is installed."""
    return shutil.which(name)


def needed(path: Path, what: str, remedy: str) -> str:
    """Return the path as text.

    Raises:
        BenchError: It is not there.
    """
    if not path.exists():
        raise BenchError(f"{what} is missing ({path}). {remedy}")
    return str(path)


@contextlib.contextmanager
def prepared(scale: float) -> Iterator[Setup]:
    """A broker of its own, and everything that is to be measured.

    Raises:
        BenchError: Something is missing, or ours is not the build that users have.
    """
    import miqro

    refuse_slow_builds(miqro._native)
    remedy = "`make bench` makes it."
    original = needed(ROOT / ".cache/compat/venv/bin/python", "The environment of miqro 1.3.0", remedy)
    peers = needed(CACHE / "venv/bin/python", "The environment of the peers", remedy)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    native = target / "release" / "examples" / "rumqttc_client"
    needed(native, "The client on rumqttc", remedy)
    pythons = {MIQRO: sys.executable, ORIGINAL: original, PAHO: peers, GMQTT: peers, PYTHON: sys.executable}
    with tempfile.TemporaryDirectory(prefix="miqro-bench-") as name:
        folder = Path(name)
        (folder / "broker").mkdir()
        with Broker(folder / "broker", quiet=True, options=BROKER_OPTIONS) as broker:
            yield Setup(broker.port, folder, pythons, native, scale)
