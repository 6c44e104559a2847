"""How the driver speaks with a client program: the driver writes commands to stdin, the client lines to stdout.

Every Python client has this, so it runs on the interpreters of all of them.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from typing import Any

#: What to do: a JSON object, the first argument.
SPEC: dict[str, Any] = json.loads(sys.argv[1])
#: 13 bytes, unless it is to be another size.
PAYLOAD = ("hello, world!" * (SPEC.get("size", 13) // 13 + 1))[: SPEC.get("size", 13)]
#: Set when the driver says `go`.
GO = threading.Event()


def say(**what: Any) -> None:
    """Tell the driver."""
    # In one piece: several threads speak.
    os.write(1, json.dumps(what).encode() + b"\n")


def cpu() -> float:
    """Seconds on a processor so far, user and system, of all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _obey() -> None:
    for line in sys.stdin:
        if line == "cpu\n":
            say(cpu=cpu())
        elif line == "go\n":
            GO.set()
    # The driver has what it wants: no farewell.
    os._exit(0)


def obey() -> None:
    """Answer `cpu` and hear `go`, on a thread that otherwise sleeps."""
    threading.Thread(target=_obey, daemon=True).start()


class Counter:
    """Says `ready` at the first message, which is the retained one, and `done` after so many more."""

    def __init__(self) -> None:
        self.seen = 0
        self.wanted = 1

    def count(self) -> None:
        self.seen += 1
        if self.seen == self.wanted:
            if self.seen == 1:
                self.wanted = 1 + SPEC["count"]
                say(ready=True)
            else:
                say(done=True)
