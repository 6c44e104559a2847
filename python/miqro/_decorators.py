"""The decorators of a service class, and how a class collects what they mark (contract C10)."""

from __future__ import annotations

from datetime import timedelta

from ._handlers import is_coroutine_function
from ._properties import with_concurrency, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

#: The class attributes that hold what was collected, by the kind of the mark.
ATTRIBUTES = {
    "own": "CLASS_MQTT_HANDLERS",
    "global": "CLASS_MQTT_GLOBAL_HANDLERS",
    "loop": "PREPARED_LOOPS",
}


class Marked:
    """A method with what its decorators said of it. On an instance it is the method."""

    def __init__(self, fn: Callable[..., Any], marks: tuple[tuple[str, object], ...]) -> None:
        self.fn = fn
        #: (kind, topic or interval), in the order in which the decorators were applied.
        self.marks = marks
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", "handler")
        self.__wrapped__ = fn

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else self.fn.__get__(instance, owner)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.__name__}: {', '.join(f'{kind} {what}' for kind, what in self.marks)}>"


def _mark(fn: Any, kind: str, what: object) -> Any:
    if isinstance(fn, Marked):
        return Marked(fn.fn, (*fn.marks, (kind, what)))
    return Marked(fn, ((kind, what),))


def handle(
    topic_ext: str,
    *,
    no_local: bool = False,
    retain_as_published: bool = False,
    retain_handling: int = 0,
    concurrency: int = 1,
) -> Callable[[F], F]:
    """Calls the method with the payload of each message on `<data_topic_prefix><topic_ext>`.

    Where `topic_ext` ends in `#`, the method is called with the payload and the rest of the topic.

    Args:
        topic_ext: A topic filter relative to the service's prefix; `+` and `#` as in MQTT section 4.7.
        no_local: Leave out what this service publishes itself. This and the next two are of MQTT 5.
        retain_as_published: Whether the broker leaves the retain flag of messages as it was published.
        retain_handling: Retained messages come on each connect (0), only if the subscription is new to the broker
            (1), or not at all (2).
        concurrency: How many messages an `async def` may work on at once. With 1 they are handled in order.

    A value that it returns, other than `None`, is published as the answer if the message asks for one: if it has a
    response topic (MQTT 5, see `Service.request`).

    Raises:
        TypeError: `concurrency` is given for an ordinary method.
        ValueError: There is no such `retain_handling`, or `concurrency` is less than 1.
    """
    topic = with_options(topic_ext, no_local, retain_as_published, retain_handling)
    return lambda fn: _mark(fn, "own", with_concurrency(topic, fn, concurrency))


def handle_global(
    topic: str,
    *,
    no_local: bool = False,
    retain_as_published: bool = False,
    retain_handling: int = 0,
    concurrency: int = 1,
) -> Callable[[F], F]:
    """As `handle`, for a topic filter that is taken as it is, without the service's prefix.

    `$share/group/filter` shares the messages of the filter between all services that subscribe to it so.
    """
    topic_filter = with_options(topic, no_local, retain_as_published, retain_handling)
    return lambda fn: _mark(fn, "global", with_concurrency(topic_filter, fn, concurrency))


def loop(*args: float | timedelta, **kwargs: float) -> Callable[[F], F]:
    """Calls the method at a regular interval, the first time when the service starts.

    A method that returns `False` is not called again.

    Args:
        args: As of `datetime.timedelta`, or one timedelta.
        kwargs: As of `datetime.timedelta`: `seconds=10`, `minutes=1`, `milliseconds=250` …

    Raises:
        ValueError: The interval is negative.
    """
    interval = args[0] if len(args) == 1 and isinstance(args[0], timedelta) else timedelta(*args, **kwargs)  # type: ignore[arg-type]  # a lone timedelta was taken before
    if interval < timedelta(0):
        raise ValueError(f"a loop cannot have a negative interval ({interval})")
    return lambda fn: _mark(fn, "loop", interval)


def accept_json(fn: F) -> F:
    """Decodes the payload as a JSON object and passes its members as keyword arguments.

    In a handler of a `#` filter the rest of the topic comes first, by position. A payload that is not a JSON
    object, or has other members than the method takes, is logged as an error that names the topic.
    """
    import functools

    if isinstance(fn, Marked):
        return Marked(accept_json(fn.fn), fn.marks)  # type: ignore[return-value]

    def members_of(payload: Any, rest: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        import json

        if not isinstance(payload, (str, bytes)):
            # A bound method of any other object than the service is handed the service too.
            payload, *rest = rest  # type: ignore[assignment]
        try:
            members = json.loads(payload)
        except ValueError as error:
            raise ValueError(f"the payload is not JSON: {error}") from None
        if not isinstance(members, dict):
            raise ValueError(f"the payload is JSON, but no object: {payload[:80]!r}")  # noqa: TRY004 - a value, from the network
        return rest, members

    decoded: Any
    if is_coroutine_function(fn):

        @functools.wraps(fn)
        async def decoded(self: object, payload: Any, *rest: Any) -> Any:
            rest, members = members_of(payload, rest)
            return await fn(self, *rest, **members)

    else:

        @functools.wraps(fn)
        def decoded(self: object, payload: Any, *rest: Any) -> Any:
            rest, members = members_of(payload, rest)
            return fn(self, *rest, **members)

    # Set by functools.wraps: with it the arity of `fn` would be taken for the arity of this wrapper.
    del decoded.__wrapped__
    return decoded  # type: ignore[no-any-return]


def collect(cls: type) -> None:
    """Sets the class attributes that list the handlers and loops of `cls` and all its bases.

    Bases come first, each name once, at the place where it was marked first. A name that a subclass marks
    anew has the marks of the subclass; one that it overrides without a mark keeps the marks and calls the new
    method; one that it sets to something that cannot be called is gone. A list that a class spells out itself
    stands for what its bases have, and what is marked in the class comes after it.
    """
    if "_miqro_spelled_out" not in cls.__dict__:
        cls._miqro_spelled_out = _spelled_out(cls)  # type: ignore[attr-defined]
    marked: dict[str, tuple[type, Marked]] = {}
    explicit: list[tuple[str, type, object]] = []
    replaced: set[tuple[str, type]] = set()
    for base in reversed(cls.__mro__):
        spelled_out = base.__dict__.get("_miqro_spelled_out")
        for kind, entries in (_spelled_out(base) if spelled_out is None else spelled_out).items():
            replaced.update((kind, ancestor) for ancestor in base.__mro__[1:])
            explicit.extend((kind, base, entry) for entry in entries)
        for name, value in base.__dict__.items():
            if isinstance(value, Marked):
                marked[name] = (base, value)
            elif name in marked:
                if callable(value):
                    owner, method = marked[name]
                    marked[name] = (owner, Marked(value, method.marks))
                else:
                    del marked[name]
    found = [
        (kind, owner, (method.fn, what) if kind == "loop" else (what, method.fn))
        for owner, method in marked.values()
        for kind, what in method.marks
    ]
    for kind, attribute in ATTRIBUTES.items():
        by_hand = [entry for of, owner, entry in explicit if of == kind and (kind, owner) not in replaced]
        own = [entry for of, owner, entry in found if of == kind and (kind, owner) not in replaced]
        # A list may be a copy of the parent's: what is in it already is not added.
        setattr(cls, attribute, by_hand + [entry for entry in own if entry not in by_hand])


def _spelled_out(cls: type) -> dict[str, list[Any]]:
    return {
        kind: list(cls.__dict__[attribute])
        for kind, attribute in ATTRIBUTES.items()
        if attribute in cls.__dict__
    }
