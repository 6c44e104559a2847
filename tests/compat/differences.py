"""The intended differences: each with its name, its reason, and its line in docs/migration.md, by an anchor.

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


# ---- everywhere --------------------------------------------------------------------------------------

difference(
    "subscribes-at-qos-1",
    "A subscription at QoS 0 loses commands whenever the connection is poor, whatever QoS they were sent at.",
)
# What a service subscribes to by hand has the QoS that it says.
rule("subscribes-at-qos-1", "original", r"^(session \S+ subscribe (?!\S*by_hand)\S+) q0$", r"\1 q1")

difference(
    "log-of-the-connection",
    "1.x said nothing where the broker was away. `<name>.mqtt` now says where it is connected, and why it is not.",
)
rule("log-of-the-connection", "ours", r"^log INFO mqtt (?:dis)?connected (?:to|from) the broker", None)
rule("log-of-the-connection", "ours", r"^log WARNING mqtt no connection to the broker at \S+: .+", None)
rule("log-of-the-connection", "original", r"^log ERROR mqtt failed to receive on socket: ", None)

difference(
    "discovery-at-qos-1",
    "1.x asked for QoS 1 and lost it on the way: a device could be missing in Home Assistant.",
)
rule("discovery-at-qos-1", "original", r'^(wire \S+/config) q0 (r1 \{"(?:device|name)")', r"\1 q1 \2")

difference(
    "birth-message",
    "After a restart of Home Assistant its entities are announced again, so that none stays unavailable.",
)
# Services with devices listen to one topic more. A handler of a service's own is not meant here.
rule("birth-message", "ours", r"^session \S+ subscribe (?!ha_listens)\S+/status q1$", None)
rule("birth-message", "ours", r"^log INFO main subscribing to (?!ha_listens)\S+/status$", None)

# ---- handlers and loops ------------------------------------------------------------------------------

difference(
    "exceptions-end-nothing",
    "In 1.x an exception in a handler ended the network thread while the service seemed to run, one in a loop ended "
    "the service: a single malformed message was enough.",
)
difference(
    "invalid-filters-are-refused",
    "1.x noted an invalid filter before it refused it, and every later connect failed of it.",
)
difference(
    "enabled-works", "In 1.x any message to `enabled` raised a TypeError, and ended the network thread."
)
difference(
    "matching-of-mqtt",
    "`+` matched nothing in 1.x though it was subscribed to, and `a/#` did not match `a`; MQTT says they do.",
)
difference(
    "accept-json-below-a-hash",
    "In 1.x `accept_json` dropped the rest of the topic: every message was a TypeError.",
)
difference(
    "methods-with-the-payload-only",
    "A bound method had to take the service a second time; now it need not, if its signature says so.",
)
difference(
    "decorators-stack",
    "In 1.x the inner of two decorators was lost, and the outer one called something that cannot be called.",
)
difference(
    "handlers-are-methods",
    "In 1.x a decorated method was no method any more: `self.handler(...)` was a TypeError.",
)
difference(
    "classes-keep-to-themselves",
    "In 1.x the handlers of a subclass went into its parent's list, and so to all siblings; an overridden handler "
    "ran beside the one that overrides it; of two mixins only the first counted.",
)
difference(
    "loops-are-punctual",
    "1.x looked every 200 ms, and added what each call took: a loop of 300 ms ran every 400.",
)
difference(
    "negative-intervals", "A negative interval is a mistake: 1.x called such a loop without any pause."
)
difference(
    "one-thread",
    "1.x ran handlers on the network thread, beside the loops: a service needed locks, and a slow handler lost the "
    "connection.",
)
difference(
    "async-def", "`async def` handlers and loops are run; 1.3.0 made their coroutines and forgot them."
)
difference(
    "wait-for-work", "A service may override `_wait_for_work` to wait for a device; 1.3.0 had no such method."
)

# ---- publishing --------------------------------------------------------------------------------------

difference("publish-returns-something", "`publish` and its sisters say what became of the message.")
difference("float-precision", "`JSON_FLOAT_PRECISION` is 5, as the README of 1.x said; it shipped 4.")
difference("constants-are-text", "`PAYLOAD_ON` and `PAYLOAD_OFF` are the text that is sent, `'1'` and `'0'`.")
difference(
    "doubles-get-text",
    "The client gets numbers as the text that is sent, so that a test double sees what the wire sees.",
)
difference("more-types", "Tuples and all mappings are published as JSON; 1.x took exactly `dict` and `list`.")
difference(
    "errors-name-the-topic", "What cannot be published is logged with its topic, and what to do about it."
)
difference("keys-of-any-kind", "`publish_json_keys` takes numbers as keys; 1.x raised a TypeError.")
difference("flags-reach-the-wire", "1.x lost `qos` of JSON, and `global_` of dicts and lists.")
difference(
    "last-value-is-the-last",
    "`only_if_changed` compares what would be sent with what was sent last on the topic, whichever way it was "
    "published; 1.x compared values before their conversion, kept two memories, and forgot plain publishes.",
)
difference(
    "nothing-lost-offline",
    "What is published before the connection stands, or while it is away, is kept and sent; 1.x dropped it, and "
    "`only_if_changed` then never sent it again.",
)
difference(
    "no-heartbeat-offline",
    "Without a connection `publish` is not called for `online`: connecting publishes it.",
)

# ---- life ----------------------------------------------------------------------------------------------

difference(
    "clean-end",
    "A service that is stopped, by `stop`, SIGTERM or Ctrl-C, publishes `online` 0 and disconnects; 1.x just went.",
)
difference(
    "tls-of-today",
    "TLS is version 1.2 or 1.3 with certificates of today; what OpenSSL could and this cannot is an error that says "
    "so.",
)
difference(
    "debug-client-id", "A debug run has a client id of its own: with that of production it kicked it off."
)

# ---- configuration and state ---------------------------------------------------------------------------

difference(
    "configuration-errors",
    "What is wrong in the file, or that there is none, is a `ConfigError` that says where.",
)
difference("configuration-warnings", "What is odd in the configuration is a warning.")
difference(
    "empty-is-nothing-set",
    "An empty file or section means that nothing is set; 1.x raised an AttributeError.",
)
difference(
    "paths-stay-with-their-service",
    "In 1.x a path given to one constructor was tried by every later service.",
)
difference(
    "log-level-in-the-file", "`log_level` of the file counts where the constructor has none, as documented."
)
difference(
    "state-is-like-a-dict",
    "`in`, `len` and iteration work, and `set_path`/`get_path` take the last argument by position, as documented.",
)

# ---- Home Assistant ------------------------------------------------------------------------------------

difference(
    "entities-once", "Every entity of 1.x was registered twice: callbacks ran twice, a toggle did nothing."
)
difference(
    "entities-without-a-device",
    "They have `availability` and `origin` now, and may have callbacks: in 1.x that was an AttributeError.",
)
difference(
    "payloads-of-binary-sensors", "`payload_on` and `payload_off` of a BinarySensor are what is published."
)
difference("devices-of-one-service", "In 1.x all services of a process shared one list of devices.")
difference(
    "identifiers-left-alone",
    "1.x wrote into the list of identifiers it was given: devices sharing one merged.",
)
difference(
    "no-bare-command-topic",
    "Without a `command_topic_postfix` 1.x announced the bare prefix, where nobody listens.",
)
