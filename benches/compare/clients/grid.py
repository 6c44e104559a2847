"""What the kernel's timer gives: the same calls as in loops.py, from nothing but `time.sleep`."""

from __future__ import annotations

from time import monotonic, sleep

from control import SPEC, say

started = monotonic()
calls: dict[float, list[float]] = {interval: [] for interval in SPEC["intervals"]}
while True:
    due, interval = min((started + len(times) * each, each) for each, times in calls.items())
    sleep(max(0.0, due - monotonic()))
    calls[interval].append(monotonic())
    if interval == max(calls) and monotonic() - started >= SPEC["seconds"]:
        break
say(calls={str(interval): times for interval, times in calls.items()})
