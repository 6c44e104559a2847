"""A client program as a process of its own, and how it is spoken with (see clients/control.py)."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

from compare.setup import CLIENTS, GMQTT, PAHO, RUMQTTC, BenchError, Setup

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

#: Far more than any step takes.
DEADLINE = 120.0


def command(setup: Setup, who: str, spec: dict[str, Any], program: str = "") -> list[str]:
    """How to start that client, or another program in its interpreter."""
    if who == RUMQTTC:
        count = spec.get("answers", 1) if spec["what"] == "echo" else spec["count"]
        return [
            str(setup.native),
            spec["what"],
            str(setup.port),
            "service/bench",
            str(count),
            str(spec.get("qos", 0)),
        ]
    program = program or {PAHO: "paho_client.py", GMQTT: "gmqtt_client.py"}.get(who, "service.py")
    return [setup.pythons[who], str(CLIENTS / program), json.dumps({"port": setup.port, **spec})]


class Client:
    """A running client; killed at the end of the ``with``.

    Args:
        line: The command line.
        folder: Its working directory, where its stderr goes as well.
    """

    def __init__(self, line: list[str], folder: Path) -> None:
        self._errors = folder / "stderr.txt"
        self._input = b""
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                line, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, key: str, deadline: float = DEADLINE) -> Any:
        """What it says under that name.

        Raises:
            BenchError: It has ended, or says nothing in time.
        """
        assert self._process.stdout is not None
        end = time.monotonic() + deadline
        while True:
            while b"\n" in self._input:
                line, _, self._input = self._input.partition(b"\n")
                said = json.loads(line)
                if key in said:
                    return said[key]
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise BenchError(f"no {key!r} in {deadline:.0f} s{self._trouble()}")
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise BenchError(f"the client has ended{self._trouble()}")
            self._input += chunk

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")

    def cpu(self) -> float:
        """Seconds of processor that it has used so far, as it says itself."""
        self.tell("cpu")
        return float(self.wait_for("cpu"))

    def _trouble(self) -> str:
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"; the last of its stderr: {lines[-1]}" if lines else ""


def started(setup: Setup, who: str, spec: dict[str, Any], program: str = "") -> Client:
    """Start it in a folder of its own with a configuration."""
    return Client(command(setup, who, spec, program), setup.own_folder(spec.get("name", "bench")))
