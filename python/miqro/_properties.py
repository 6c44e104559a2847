"""What MQTT 5 adds to a publish and to a subscription, in miqro's words and in paho's."""

from __future__ import annotations

from ._handlers import is_coroutine_function, name_of
from ._native import Properties

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from typing_extensions import Self

    from ._handlers import Handler

    class PropertyArguments(TypedDict, total=False):
        """Keyword arguments of `publish`: what a message says besides its payload (MQTT 5)."""

        #: Seconds that it is worth delivering.
        expiry: int
        #: What the payload is, as the application calls it.
        content_type: str
        #: Where the answer is expected.
        response_topic: str
        #: By which the asker knows the answer.
        correlation_data: bytes | str
        #: Names and values of the application.
        user_properties: dict[str, str] | list[tuple[str, str]]
        #: Whether the payload is UTF-8 text.
        is_text: bool


#: paho's names for them.
_PAHO_PROPERTIES = {
    "MessageExpiryInterval": "expiry",
    "ContentType": "content_type",
    "ResponseTopic": "response_topic",
    "CorrelationData": "correlation_data",
    "UserProperty": "user_properties",
    "PayloadFormatIndicator": "is_text",
}

#: The bits of the options of a subscription (MQTT 5 section 3.8.3.1).
_NO_LOCAL, _RETAIN_AS_PUBLISHED, _RETAIN_HANDLING = 0x04, 0x08, 4


def properties_of(given: object) -> Properties | None:
    """Ours, or a `paho.mqtt.properties.Properties`, as ours.

    Raises:
        ValueError: MQTT cannot carry one of them.
    """
    if given is None or isinstance(given, Properties):
        return given
    arguments = {
        ours: getattr(given, paho) for paho, ours in _PAHO_PROPERTIES.items() if hasattr(given, paho)
    }
    if "is_text" in arguments:
        arguments["is_text"] = bool(arguments["is_text"])
    return Properties(**arguments)


def subscription(how: object) -> int:
    """A QoS, or a `paho.mqtt.subscribeoptions.SubscribeOptions`, as the byte that the engine takes."""
    if isinstance(how, int):
        return how
    qos, no_local = int(how.QoS), bool(how.noLocal)  # type: ignore[attr-defined]  # paho's class
    as_published, handling = bool(how.retainAsPublished), int(how.retainHandling)  # type: ignore[attr-defined]
    return qos | no_local * _NO_LOCAL | as_published * _RETAIN_AS_PUBLISHED | handling << _RETAIN_HANDLING


class Filter(str):
    """A topic filter with what its handler says of it. It keeps that when a prefix is put before it."""

    __slots__ = ("concurrency", "options")

    #: Of the subscription, as the engine takes them, without the QoS.
    options: int
    #: How many messages the handler may work on at once.
    concurrency: int

    def __new__(cls, text: str, options: int = 0, concurrency: int = 1) -> Self:
        made = super().__new__(cls, text)
        made.options, made.concurrency = options, concurrency
        return made

    def __radd__(self, prefix: str) -> Filter:
        return Filter(prefix + str(self), self.options, self.concurrency)


def with_options(topic: str, no_local: bool, retain_as_published: bool, retain_handling: int) -> str:
    """The filter, with the options of its subscription if there are any.

    Raises:
        ValueError: There is no such `retain_handling`.
    """
    if retain_handling not in (0, 1, 2):
        raise ValueError(
            f"retain_handling must be 0 (retained messages each time), 1 (if the subscription is new) or 2 (none), "
            f"not {retain_handling!r}"
        )
    if not (no_local or retain_as_published or retain_handling):
        return topic
    return Filter(
        topic,
        bool(no_local) * _NO_LOCAL
        | bool(retain_as_published) * _RETAIN_AS_PUBLISHED
        | retain_handling << _RETAIN_HANDLING,
    )


def with_concurrency(topic: str, fn: Handler, concurrency: int) -> str:
    """The filter of a handler that may work on `concurrency` messages at once.

    Raises:
        TypeError: The handler is an ordinary one, and these run one at a time.
        ValueError: `concurrency` is no number from 1 on.
    """
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency is a number of messages, from 1 on, not {concurrency!r}")
    if concurrency == 1:
        return topic
    if not is_coroutine_function(fn):
        raise TypeError(
            f"the handler for {topic!r}, {name_of(fn)}, cannot have concurrency={concurrency}: it is no "
            "`async def`, and ordinary handlers run one at a time"
        )
    return Filter(topic, topic.options if isinstance(topic, Filter) else 0, concurrency)
