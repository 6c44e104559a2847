"""What still lives when the interpreter exits says goodbye (design section 4)."""

from __future__ import annotations

import atexit
import os
import threading
from time import monotonic
from weakref import WeakKeyDictionary, WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._service import Service
    from .mqtt import Client

#: How long the exit waits for services on daemon threads, all together, in seconds (contract C40).
EXIT_SECONDS = 2.0

_pid = os.getpid()
_clients: WeakSet[Client] = WeakSet()
_services: WeakKeyDictionary[Service, threading.Thread] = WeakKeyDictionary()


def watch_client(client: Client) -> None:
    """Has the client disconnect at the exit, so that what it has accepted is sent."""
    _clients.add(client)


def watch_service(service: Service) -> None:
    """Has the service stopped at the exit, where its thread is a daemon: others are waited for by Python."""
    thread = threading.current_thread()
    if thread.daemon:
        _services[service] = thread


@atexit.register
def _goodbye() -> None:
    if os.getpid() != _pid:
        return  # In a child of fork() all of them are the parent's.
    running = list(_services.items())
    for service, _ in running:
        service.stop = True
    deadline = monotonic() + EXIT_SECONDS
    for _, thread in running:
        thread.join(max(0.0, deadline - monotonic()))
    for client in list(_clients):
        client.disconnect()
