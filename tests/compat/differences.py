"""The intended differences: each with its name, its reason, and its line in docs/migration.md (by the anchor of that name).

Most are shown by the lines that a scenario lists under the name. Some touch every scenario: those are rules, which
take a line of one implementation to what the other shows. An entry that nothing shows any more fails, too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Name to reason.
DIFFERENCES: dict[str, str] = {}


class Rule(NamedTuple):
    """A difference that shows everywhere."""

    name: str
    side: str
    pattern: re.Pattern[str]
    #: What the line becomes; `None`: it is left out.
    replacement: str | None


RULES: list[Rule] = []


def difference(name: str, reason: str) -> None:
    """Enter a difference."""
    assert name not in DIFFERENCES
    DIFFERENCES[name] = reason


def rule(name: str, side: str, pattern: str, replacement: str | None) -> None:
    """Enter a rule of a difference that was entered before."""
    assert name in DIFFERENCES
    RULES.append(Rule(name, side, re.compile(pattern), replacement))


def apply_rules(lines: list[str], side: str, used: set[str]) -> list[str]:
    """Give the lines of one side with the rules applied; the names of those that changed a line go into `used`."""
    result: list[str] = []
    for line in lines:
        current: str | None = line
        for item in RULES:
            if item.side != side or current is None or not item.pattern.search(current):
                continue
            used.add(item.name)
            current = None if item.replacement is None else item.pattern.sub(item.replacement, current)
        if current is not None:
            result.append(current)
    return result


difference(
    "subscribes-at-qos-1",
    "A subscription at QoS 0 loses commands whenever the connection is poor, whatever QoS they were sent at.",
)
# What a service subscribes to by hand has the QoS that it says.
rule("subscribes-at-qos-1", "original", r"^(session \S+ subscribe (?!\S*by_hand)\S+) q0$", r"\1 q1")

difference(
    "log-of-the-connection",
    "1.x said nothing where the broker was away. The logger `.mqtt` now says where it is connected, and why it is not.",
)
rule("log-of-the-connection", "ours", r"^log INFO mqtt (?:dis)?connected (?:to|from) the broker", None)
rule("log-of-the-connection", "ours", r"^log WARNING mqtt no connection to the broker at \S+: .+", None)
rule("log-of-the-connection", "original", r"^log ERROR mqtt failed to receive on socket: ", None)

difference(
    "discovery-at-qos-1",
    "1.x asked for QoS 1 and lost it on the way: a device could be missing in Home Assistant.",
)
rule("discovery-at-qos-1", "original", r'^(wire \S+/config) q0 (r1 \{"(?:device|name)")', r"\1 q1 \2")
