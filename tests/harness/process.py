"""A Python script in an interpreter of its own: for signals, exit codes, and what is on stderr at the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from typing import IO, TYPE_CHECKING, NamedTuple

from harness.wait import DeadlineError, Log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self

# Far more than anything takes, also on a machine that is busy with other things.
TIMEOUT = 30.0


class Result(NamedTuple):
    """How a script ended."""

    returncode: int
    """The exit status; negative: the number of the signal that killed it."""
    out: str
    err: str

    def check(self, returncode: int = 0) -> None:
        """Assert the exit status, and that nobody saw a traceback.

        Raises:
            AssertionError: It ended in another way; the text has its stderr.
        """
        assert self.returncode == returncode, f"exit status {self.returncode}, stderr:\n{self.err}"
        assert "Traceback" not in self.err, self.err
        assert "panicked" not in self.err, self.err


class Script:
    """A running script.

    Args:
        folder: Its working directory. The source is written there as ``script.py`` if it is given as text.
        source: The source (dedented), or the path of an existing script.
        args: Its arguments.
        env: Environment variables to add.
        options: Options of the interpreter, as ``-X dev``.
        python: The interpreter; by default the one that runs the tests.
    """

    def __init__(
        self,
        folder: Path,
        source: str | Path,
        *args: str,
        env: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
        python: str | Path = sys.executable,
    ) -> None:
        if isinstance(source, str):
            path = folder / "script.py"
            path.write_text(textwrap.dedent(source), encoding="utf-8")
        else:
            path = source
        self.out: Log[str] = Log()
        self.err: Log[str] = Log()
        self.process = subprocess.Popen(
            [str(python), "-u", *options, str(path), *args],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A terminal's Ctrl-C on the tests is not meant for it.
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=_collect, args=(stream, log), daemon=True)
            for stream, log in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def wait_out(self, pattern: str, timeout: float = TIMEOUT, *, start: int = 0) -> str:
        """Wait for a line on stdout that has a match for the regular expression; return the line."""
        return self._wait_line(self.out, "stdout", pattern, timeout, start)

    def wait_err(self, pattern: str, timeout: float = TIMEOUT, *, start: int = 0) -> str:
        """Wait for a line on stderr that has a match for the regular expression; return the line."""
        return self._wait_line(self.err, "stderr", pattern, timeout, start)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.signal(signal.SIGINT)

    def terminate(self) -> None:
        """Do what ``systemctl stop`` does."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Do what a power cut does."""
        self.signal(signal.SIGKILL)

    def wait(self, timeout: float = TIMEOUT) -> Result:
        """Wait for its end; return how it ended.

        Raises:
            DeadlineError: It runs on; the text has its stderr.
        """
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            result = self._result(self.process.wait())
            message = f"the script did not end within {timeout} s; its stderr:\n{result.err}"
            raise DeadlineError(message) from None
        return self._result(code)

    def __enter__(self) -> Self:
        """Return itself: it runs from its making on."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Kill it if it still runs."""
        if self.running:
            self.kill()
        self._result(self.process.wait())

    def _result(self, code: int) -> Result:
        for reader in self._readers:
            reader.join(10.0)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return Result(code, "\n".join(self.out.all()), "\n".join(self.err.all()))

    def _wait_line(self, log: Log[str], name: str, pattern: str, timeout: float, start: int) -> str:
        try:
            return log.wait_for(
                lambda line: re.search(pattern, line) is not None,
                timeout,
                f"{name} has {pattern!r}",
                start=start,
            )
        except DeadlineError as error:
            state = "still runs" if self.running else f"ended with status {self.process.returncode}"
            tail = "" if log is self.err else "its stderr:\n  " + "\n  ".join(self.err.all()[-30:])
            message = f"{error}\nThe script {state}; {tail}"
            raise DeadlineError(message) from None


def _collect(stream: IO[bytes], log: Log[str]) -> None:
    for line in stream:
        log.append(line.decode(errors="replace").rstrip("\n"))
