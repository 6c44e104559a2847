"""How records of the log are compared (the rule).

Compared are the level, the logger (`main` or `mqtt`, as services and their owners filter by them) and the
meaning. What a service itself logs is its own text and has to be the same, word for word. What the library logs may
be worded better than in 1.x, but has to say the same: each pattern below takes a wording of either implementation
to one meaning, *with the facts in it*: topics, names, numbers, the type and text of an exception. A record that no
pattern knows is compared word for word, so that a new wording is noticed. A pattern never takes two records of
different meaning to one. What a pattern drops says nothing that another line does not say, and is explained here.
Of an exception the type counts: its text is Python's and changes with Python's version.
Order is not compared: 1.x logs from two threads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from compat.observation import Record

_TABLE: list[tuple[re.Pattern[str], Callable[[re.Match[str]], list[str]]]] = []


def _means(pattern: str, *templates: str) -> None:
    """A message that has a match means each of the templates, filled in."""
    _TABLE.append((re.compile(pattern), lambda match: [match.expand(template) for template in templates]))


# The connection. 1.x: one record for the connect, a header, and one for each filter. Ours: one for all.
_means(r"^MQTT connected, client=.*, rc=0$", "connected")
_means(r"^Subscribing to \.\.\.$")
_means(r"^(?:  - |Subscribing to )(\S+)$", r"subscribing to \1")
_TABLE.append(
    (
        re.compile(r"^MQTT connected, subscribing to: (.+)$"),
        lambda match: ["connected", *(f"subscribing to {item}" for item in match[1].split(", "))],
    )
)

# The loops. The durations are measurements, and how often a loop was called by then is a matter of time; whether it
# was is not. "Loop stats:" is a header.
_means(r"^Loop stats:$")
_means(r"^ - (Loop\(\w+\)) called 0 times, .*$", r"\1 not called")
_means(r"^ - (Loop\(\w+\)) called \d+ times, .*$", r"\1 called")
_means(r"^   (Loop\(\w+\)) takes, on average, longer .*", r"\1 takes longer than its interval")

# A message for nobody.
_means(r"^Unhandled topic '(.*)', registered handlers for: (.*)$", r"no handler for \1, only for \2")
_means(r"^No handler for topic '(.*)'; there are handlers for: (.*)$", r"no handler for \1, only for \2")

# Exceptions. What paho catches in a callback it raises again, and its thread ends with a traceback: the `crash`.
_means(r"^Caught exception in on_\w+: ")
_means(r"^the handler (?:\S+\.)?(\S+) failed for a message on '(.*?)': ", r"handler \1 failed for \2")
_means(r"^(Loop\(\w+\)) failed: ", r"\1 failed")

_means(r"^the handler for '(.*?)', .*, cannot be called with ", r"the handler for \1 cannot be called")

# Home Assistant.
_means(r"^The \w+ '(.*?)' has no command_topic_postfix: ", r"no command topic for \1")

# What cannot be published. 1.x did not say what and where.
_means(r"^publishing on '(.*?)': ", r"cannot publish on '\1'")

# The configuration.
_means(r"^\S*miqro.yml:\d+:\d+: 'data_topic' has no '/' at its end", "data_topic has no slash at its end")
_means(
    r"^Service configuration for (\S+) not found in .* of configuration file (.*)\. Using.*$",
    r"no section for \1",
)
_means(
    r"^.*: there is no section '(\S+)' under 'services'; nothing is set for this service$",
    r"no section for \1",
)


def meanings(record: Record) -> list[str]:
    """Give what a record means: its own words if nothing else is known, and the error that comes with it."""
    error = f" ! {error_type(record.error)}" if record.error else ""
    for pattern, expand in _TABLE:
        if found := pattern.match(record.message):
            return [meaning + error for meaning in expand(found)]
    return [record.message + error]


def error_type(line: str) -> str:
    """Give the type of an exception from the last line of its traceback."""
    return line.partition(":")[0].rpartition(".")[2]
