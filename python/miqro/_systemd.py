"""What a service tells systemd: that it is ready, how its connection is, that it lives (sd_notify(3)).

Imported only where systemd has asked for it, with `NOTIFY_SOCKET` in the environment.
"""

from __future__ import annotations

import os
import socket
from threading import Lock
from time import monotonic

from . import mqtt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._service import Service

#: Signs of life in the time after which systemd takes the service for dead: one may be late.
SIGNS = 3
#: Seconds that systemd may take to accept a word.
SEND_SECONDS = 1.0

#: The services of this process that run, in order. systemd sees one process: it is ready when the first of them
#: is, lives while all of them live, and ends with the last.
_running: dict[Notifier, None] = {}
#: Those that have given a sign of life since systemd was last told.
_signs: set[Notifier] = set()
_lock = Lock()


class Notifier:
    """The words of one running service to systemd.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._interval = self._watchdog_seconds()
        self._next_sign = monotonic()
        self._well = True
        self._status = "connecting"
        self._heard = True
        if self._interval is not None:
            _show_where_it_hangs()
        self._follow(service.mqtt_client)

    def ready(self) -> None:
        """The service runs. The broker may come later."""
        with _lock:
            _running[self] = None
            self._say("READY=1", _status_of_all())

    def status(self, text: str) -> None:
        """Tells in words how the connection is."""
        text = " ".join(text.split())
        with _lock:
            changed, self._status = text != self._status, text
            if changed and self in _running:
                self._say(_status_of_all())

    def due_in(self) -> float | None:
        """Seconds until the next sign of life; `None`: systemd does not ask for any."""
        return None if self._interval is None else self._next_sign - monotonic()

    def give_sign(self) -> None:
        """Tells that the service lives, if it is time, and it does."""
        if self._interval is None or monotonic() < self._next_sign:
            return
        self._next_sign = monotonic() + self._interval
        if not self._is_well():
            return
        with _lock:
            _signs.add(self)
            if _signs.issuperset(_running):
                _signs.clear()
                self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The service says goodbye."""
        with _lock:
            _running.pop(self, None)
            _signs.discard(self)
            self._say(*(["STOPPING=1", "STATUS=stopping"] if not _running else [_status_of_all()]))

    def _is_well(self) -> bool:
        """Whether loops run and the engine lives. That the broker is away is no reason to be restarted."""
        service = self._service
        try:
            well = (
                service.mqtt_thread_alive()
                and not service._miqro_dispatcher.stalled()
                and (not service.is_connected or bool(service.healthy()))
            )
        except Exception as error:
            service.log.error("healthy() failed: %s", error, exc_info=error)
            service.note_failure(f"healthy() failed: {type(error).__name__}: {error}")
            well = False
        if self._well and not well:
            service.log.warning(
                "not healthy: systemd is told nothing more, and restarts the service unless it recovers. "
                "The last failure: %s",
                service.last_failure or "none",
            )
        elif well and not self._well:
            service.log.info("healthy again")
        self._well = well
        return well

    def _watchdog_seconds(self) -> float | None:
        """The time between two signs of life; `None` where systemd asks this process for none."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not microseconds:
            return None
        if not (microseconds.isdecimal() and int(microseconds)):
            self._service.log.warning(
                "WATCHDOG_USEC is %r, not a number of microseconds: there is no watchdog", microseconds
            )
            return None
        return int(microseconds) / 1e6 / SIGNS

    def _follow(self, client: Any) -> None:
        """Has the status follow the connection of the client."""
        if isinstance(client, mqtt.Client):
            client._status = self.status
            return
        # Of another library's client there is only what its callbacks tell.
        connected: Callable[..., object] = client.on_connect
        disconnected: Callable[..., object] = client.on_disconnect

        def on_connect(*args: Any) -> None:
            refused = len(args) > 3 and args[3] != 0
            self.status(f"connecting: refused with code {args[3]}" if refused else "connected")
            connected(*args)

        def on_disconnect(*args: Any) -> None:
            self.status("connecting: the connection was lost")
            disconnected(*args)

        client.on_connect, client.on_disconnect = on_connect, on_disconnect

    def _say(self, *words: str) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        if address.startswith("@"):
            address = "\0" + address[1:]  # Linux's names without a file
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
                there.settimeout(SEND_SECONDS)
                there.sendto("\n".join(words).encode(), address)
            self._heard = True
        except (OSError, ValueError) as error:
            self._service.log.log(
                30 if self._heard else 10,
                "systemd does not hear this service (%s, on the socket NOTIFY_SOCKET=%s): %s",
                words[0],
                os.environ.get("NOTIFY_SOCKET"),
                error,
            )
            self._heard = False


def _status_of_all() -> str:
    if len(_running) == 1:
        return "STATUS=" + next(iter(_running))._status
    return "STATUS=" + "; ".join(f"{one._service}: {one._status}" for one in _running)


def _show_where_it_hangs() -> None:
    """Has SIGABRT, with which systemd ends a service that gives no sign, write the stacks of all threads first."""
    import contextlib
    import faulthandler

    # Without a stderr that is a file there is nowhere to write to.
    with contextlib.suppress(RuntimeError, ValueError, OSError, AttributeError):
        if not faulthandler.is_enabled():
            faulthandler.enable()
