"""A real mosquitto of the test's own, on a free port, with whatever it is to allow, keep or refuse."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

from harness.packets import answers_connect
from harness.wait import DeadlineError, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

START_SECONDS = 15.0


class MosquittoMissingError(RuntimeError):
    """There is no mosquitto on this machine; the text says how to get one."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _find(name: str) -> str:
    path = shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    )
    if path is None:
        message = f"{name} is not installed: run `make test`, or apt-get install mosquitto"
        raise MosquittoMissingError(message)
    return path


class Broker:
    """A mosquitto process: started by :meth:`start`, keeps its port over restarts, ends with the ``with``.

    Args:
        folder: Where its configuration, log and database go.
        port: The port; by default a free one.
        users: Name to password; if given, nobody else may connect.
        acl: The lines of an access control file.
        persistent: Keep sessions and retained messages on disk, saved at every change, so that they survive
            ``kill -9``.
        autosave: With ``persistent``: whether it saves by itself, or only at :meth:`save`, which is quicker.
        quiet: Log errors only, for tests with millions of messages.
        options: More lines for its configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        users: Mapping[str, str] | None = None,
        acl: Sequence[str] | None = None,
        persistent: bool = False,
        autosave: bool = True,
        quiet: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._port_is_free_choice = port is None
        self.host = "127.0.0.1"
        self.users = dict(users or {})
        self.acl = acl
        self.persistent = persistent
        self.autosave = autosave
        self.quiet = quiet
        self.options = list(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that it has logged, over all its lives."""
        path = self.folder / "mosquitto.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            RuntimeError: It does not run.
        """
        return self._alive().pid

    def wait_log(self, pattern: str, timeout: float = 10.0, *, start: int = 0) -> re.Match[str]:
        """Wait until its log, from index ``start`` on, has a match for the regular expression; return the match."""
        return wait_until(
            lambda: re.search(pattern, self.log[start:]),
            timeout,
            f"the log of the broker has {pattern!r}; it is:\n{self.log}",
        )

    def start(self) -> Self:
        """Start it and return when it answers a CONNECT.

        Raises:
            DeadlineError: It did not come up; the text has its log.
        """
        if self.running:
            message = "the broker runs already"
            raise RuntimeError(message)
        for _ in range(5):
            self._spawn()
            try:
                wait_until(
                    self._ready, START_SECONDS, f"mosquitto answers on port {self.port}; its log:\n{self.log}"
                )
            except DeadlineError:
                self.kill()
                raise
            if self.running:
                return self
            if not self._port_is_free_choice or "Address already in use" not in self.log:
                message = f"mosquitto ended at once; its log:\n{self.log}"
                raise DeadlineError(message)
            self.port = free_port()
        message = f"no port was free five times in a row; the log:\n{self.log}"
        raise DeadlineError(message)

    def stop(self) -> None:
        """End it in an orderly way: it disconnects its clients and saves what is persistent."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = True) -> None:
        """End it, by default as a power cut would, and start it again on the same port."""
        if kill:
            self.kill()
        else:
            self.stop()
        self._port_is_free_choice = False
        self.start()

    def save(self) -> None:
        """Write everything to disk now; return when that is done: before a kill that is to lose nothing."""
        before = self.log.count("Saving in-memory database")
        self._alive().send_signal(signal.SIGUSR1)
        wait_until(lambda: self.log.count("Saving in-memory database") > before, 10.0, "the broker saves")
        # It logs before it writes, and answers afterwards.
        wait_until(lambda: answers_connect(self.port, 1.0), 10.0, "the broker answers after saving")

    def freeze(self) -> None:
        """Stop it from doing anything while its connections stay open, until :meth:`thaw`."""
        self._alive().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._alive().send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        """Start it unless it runs."""
        return self if self.running else self.start()

    def __exit__(self, *exc: object) -> None:
        """End it."""
        self.kill()

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            message = "the broker does not run"
            raise RuntimeError(message)
        return self._process

    def _ready(self) -> bool:
        # A process that ended is an answer too: the caller looks.
        return not self.running or answers_connect(self.port, 1.0)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(self._settings()) + "\n", encoding="utf-8")
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_find("mosquitto"), "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _settings(self) -> list[str]:
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if self.users else 'true'}",
            f"persistence {'true' if self.persistent else 'false'}",
            # Without a bound of its own: a burst must not be thinned out by the broker.
            "max_queued_messages 0",
            "set_tcp_nodelay true",
            "log_dest stderr",
            f"log_type {'error' if self.quiet else 'all'}",
        ]
        if os.getuid() == 0:
            # Else it gives up root, and can no longer read its own files here.
            lines.append("user root")
        if self.persistent:
            lines += [
                f"persistence_location {self.folder}/",
                f"autosave_on_changes {'true' if self.autosave else 'false'}",
                f"autosave_interval {1 if self.autosave else 0}",
            ]
        if self.users:
            lines.append(f"password_file {self._passwords()}")
        if self.acl is not None:
            acl = self.folder / "acl"
            acl.write_text("\n".join(self.acl) + "\n", encoding="utf-8")
            acl.chmod(0o600)
            lines.append(f"acl_file {acl}")
        return lines + self.options

    def _passwords(self) -> Path:
        passwords = self.folder / "passwords"
        passwords.write_text("", encoding="utf-8")
        passwords.chmod(0o600)
        for name, password in self.users.items():
            subprocess.run(
                [_find("mosquitto_passwd"), "-b", str(passwords), name, password],
                check=True,
                capture_output=True,
            )
        return passwords
