"""When loops are called, in a service that has several, over some seconds."""

from __future__ import annotations

import os
from time import monotonic
from typing import Any

from control import SPEC, say

import miqro

started = monotonic()
calls: dict[float, list[float]] = {interval: [] for interval in SPEC["intervals"]}


def made(interval: float) -> Any:
    mine = calls[interval]

    def tick(self: miqro.Service) -> None:
        mine.append(monotonic())

    return miqro.loop(seconds=interval)(tick)


def end(self: miqro.Service) -> None:
    if monotonic() - started < SPEC["seconds"]:
        return
    say(calls={str(interval): times for interval, times in calls.items()})
    os._exit(0)


# It must wake nobody, so it is called with the slowest of those that are measured.
slowest = max(calls)
members = {f"tick{index}": made(interval) for index, interval in enumerate(calls)}
members["end"] = miqro.loop(seconds=slowest)(end)
type("Bench", (miqro.Service,), {"SERVICE_NAME": "bench", **members})(log_level="ERROR").run()
