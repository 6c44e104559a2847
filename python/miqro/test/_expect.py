"""What a test expects of a topic, and whether it has come."""

from __future__ import annotations

from ._time import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType
    from typing import TypeAlias

    from ._client import Published

    Condition: TypeAlias = "str | Callable[[str], object]"

_SHOWN = 200  # characters of a payload that a failure shows


class eventually:  # noqa: N801 - it is to read as a word
    """Marks a condition that messages may fail to meet until one does.

    Args:
        condition: A Python expression over `m`, the payload as text, or a function of it.
    """

    def __init__(self, condition: Condition) -> None:
        self.condition = condition


class Expectation:
    """One topic of `expect_next`.

    Args:
        topic: The topic.
        wanted: A condition; `eventually(condition)`; `[either of these, n]`; `None` for no message.

    Raises:
        TypeError: `wanted` is none of these.
        ValueError: A number of messages below 1.
        SyntaxError: An expression that Python cannot read.
    """

    def __init__(self, topic: str, wanted: object) -> None:
        self.topic = topic
        self.count = 1
        if isinstance(wanted, list | tuple):
            if len(wanted) != 2 or isinstance(wanted[1], bool) or not isinstance(wanted[1], int):
                raise TypeError(f"{topic}: expected [condition, number of messages], not {wanted!r}")
            wanted, self.count = wanted
            if self.count < 1:
                raise ValueError(f"{topic}: the number of messages is at least 1; for no message write None")
        self.forbidden = wanted is None
        if self.forbidden and self.count != 1:
            raise TypeError(f"{topic}: None stands alone: it means that no message comes")
        self.strict = not isinstance(wanted, eventually)
        condition = wanted.condition if isinstance(wanted, eventually) else wanted
        if not (self.forbidden or isinstance(condition, str) or callable(condition)):
            raise TypeError(
                f"{topic}: expected an expression over m as text, a function, or None, not {condition!r}"
            )
        self.code: CodeType | None = None
        self.function: Callable[[str], object] | None = None
        self.shown = ""
        if isinstance(condition, str):
            self.code = compile(condition.strip(), f"<expectation of {topic}>", "eval")
            self.shown = condition.strip()
        elif callable(condition):
            self.function = condition
            self.shown = f"{getattr(condition, '__name__', condition)}(m)"
        self.matched: list[str] = []
        self.last_miss = ""

    @property
    def met(self) -> bool:
        """Whether nothing more is needed of this topic."""
        return self.forbidden or len(self.matched) == self.count

    def take(self, text: str) -> str | None:
        """Look at the next message of the topic; return what is wrong, or `None`."""
        if self.forbidden:
            return f"no message was to come on {self.topic}, but there came {shorten(text)}"
        failure = self._failure(text)
        if failure is None:
            self.matched.append(text)
        elif self.strict:
            which = (
                "the next message" if self.count == 1 else f"message {len(self.matched) + 1} of {self.count}"
            )
            return f"{which} on {self.topic} was to meet  {self.shown}  but {failure}"
        else:
            self.last_miss = failure
        return None

    def describe(self) -> str:
        """Return one line for a failure: what was expected, and how far it came."""
        if self.forbidden:
            return f"{self.topic}: no message"
        how = "next" if self.strict else "eventually"
        line = f"{self.topic}: {how}  {self.shown}  ({len(self.matched)} of {self.count} came)"
        return line if self.met or not self.last_miss else f"{line}; the last one did not: {self.last_miss}"

    def _failure(self, text: str) -> str | None:
        """Return why a message does not meet the condition, or `None` if it does."""
        try:
            if self.function is not None:
                met = self.function(text)
            elif self.code is not None:
                met = eval(self.code, {**_names(), "m": text})  # noqa: S307 - the test's own words
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to read it
            return f"{shorten(text)} made it raise {type(error).__name__}: {error}"
        return None if met else f"it was {shorten(text)}"


def meet(
    expected: Mapping[str, object],
    queue: list[Published],
    timeout: float,
    wait: Callable[[float], object],
    ended: Callable[[], str | None],
) -> dict[str, list[str]]:
    """Wait until messages have come that meet the expectations; see `tools.expect_next`.

    Args:
        expected: What is expected, by topic.
        queue: Where messages come; those that are looked at on a topic that is named are taken off.
        timeout: Seconds to wait.
        wait: Lets messages come, for some seconds at most.
        ended: Says why no more will come, if so.

    Raises:
        AssertionError: Something else came, or too little.
    """
    __tracebackhide__ = True
    expectations = {topic: Expectation(topic, wanted) for topic, wanted in expected.items()}
    only_silence = bool(expectations) and all(one.forbidden for one in expectations.values())
    deadline = Deadline(timeout)
    came: list[str] = []
    looked_at = 0
    while True:
        while looked_at < len(queue):
            if not only_silence and all(one.met for one in expectations.values()):
                break
            topic, text = queue[looked_at]
            came.append(f"{deadline.passed():6.3f} s  {topic}  {shorten(text)}")
            expectation = expectations.get(topic)
            if expectation is None:
                looked_at += 1
                continue
            if expectation.met and not expectation.forbidden:
                looked_at += 1  # more than was asked for: left for whoever asks next
                continue
            del queue[looked_at]
            if (wrong := expectation.take(text)) is not None:
                raise AssertionError(_report(wrong, expectations, came))
        if not only_silence and all(one.met for one in expectations.values()):
            break
        left = deadline.left()
        why = ended()
        if left <= 0 or why is not None:
            if only_silence:
                break
            raise AssertionError(_report(why or f"not met within {timeout:g} s", expectations, came))
        wait(left)
    return {topic: one.matched for topic, one in expectations.items() if not one.forbidden}


def _report(problem: str, expectations: Mapping[str, Expectation], came: list[str]) -> str:
    """Return the text of a failure."""
    lines = [
        problem,
        "Expected:",
        *(f"  {one.describe()}" for one in expectations.values()),
        "Came, in order:",
    ]
    return "\n".join([*lines, *(f"  {line}" for line in came or ["nothing"])])


def shorten(text: str) -> str:
    """Return a payload as a failure shows it."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}... ({len(text)} characters)"


def _names() -> dict[str, object]:
    """Return what an expression may use besides the builtins and `m`."""
    import json
    import math
    import re

    return {"json": json, "math": math, "re": re}
