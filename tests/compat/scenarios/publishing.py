"""Publishing: payloads, flags, and what is not sent again (C11, C30 to C37)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.scenario import scenario

if TYPE_CHECKING:
    from compat.run import Run


def _go(run: Run) -> None:
    run.start()
    run.send("go")
    run.expect("done")


@scenario("publishing.Types", "C31", in_order=True)
def every_type_has_its_payload(run: Run) -> None:
    """Text, bytes, truth values, nothing, numbers, dicts and lists."""
    _go(run)


@scenario(
    "publishing.MoreTypes",
    "C31",
    differs={
        "more-types": """
            + wire service/p_more/ordered q0 r0 {"b": 1, "a": 2}
            + wire service/p_more/tuple q0 r0 [1, 2.5]
        """,
        "errors-name-the-topic": """
            - log ERROR main payload must be a string, bytearray, int, float or None. ! TypeError
            - log ERROR main payload must be a string, bytearray, int, float or None. ! TypeError
            - log ERROR main payload must be a string, bytearray, int, float or None. ! TypeError
            - log ERROR main payload must be a string, bytearray, int, float or None. ! TypeError
            - log ERROR main payload must be a string, bytearray, int, float or None. ! TypeError
            + log ERROR main cannot publish on 'complex'
            + log ERROR main cannot publish on 'object'
            + log ERROR main cannot publish on 'set'
        """,
    },
)
def other_types_are_refused_or_sent_as_json(run: Run) -> None:
    """Tuples and other mappings are JSON; the rest is an error line."""
    _go(run)


@scenario(
    "publishing.Precision",
    "C3 C31 C32",
    differs={
        "float-precision": """
            - wire service/p_floats/in_list q0 r0 [0.3333]
            - wire service/p_floats/json q0 r0 {"deep": [{"x": 2.7183}]}
            + wire service/p_floats/in_list q0 r0 [0.33333]
            + wire service/p_floats/json q0 r0 {"deep": [{"x": 2.71828}]}
            - wire service/p_floats/pi q0 r0 3.1416
            + wire service/p_floats/pi q0 r0 3.14159
            - wire service/p_floats/tiny q0 r0 0.0
            + wire service/p_floats/tiny q0 r0 1e-05
        """,
    },
)
def floats_are_rounded(run: Run) -> None:
    """To `JSON_FLOAT_PRECISION` places, which is another number now."""
    _go(run)


@scenario("publishing.OldPrecision", "C3 C31 C32", in_order=True)
def floats_are_rounded_as_before_if_asked(run: Run) -> None:
    """`JSON_FLOAT_PRECISION = 4` gives 1.x's payloads."""
    _go(run)


@scenario("publishing.OnOff", "C3 C31", in_order=True)
def truth_values_have_the_payloads_of_the_service(run: Run) -> None:
    """`PAYLOAD_ON` and `PAYLOAD_OFF` may be set; JSON is not affected."""
    _go(run)


@scenario("publishing.JsonText", "C32", in_order=True)
def json_is_the_same_byte_for_byte(run: Run) -> None:
    """Separators, escapes, numbers, keys, order, and what cannot be said."""
    _go(run)


@scenario("publishing.Keys", "C33", in_order=True)
def dicts_are_published_key_by_key(run: Run) -> None:
    """Nested dicts are deeper topics, lists are JSON."""
    _go(run)


@scenario(
    "publishing.IntKeys",
    "C33",
    differs={
        "keys-of-any-kind": """
            - wire service/p_numbers/refused q0 r0 TypeError
            + wire service/p_numbers/relay/1 q0 r0 one
            + wire service/p_numbers/relay/two q0 r0 2
        """,
    },
)
def keys_may_be_numbers(run: Run) -> None:
    """A key that is no text becomes the text that JSON gives it."""
    _go(run)


@scenario("publishing.Flags", "C34 C30")
def flags_reach_the_wire(run: Run) -> None:
    """retain, qos and global_ where 1.x got them right."""
    _go(run)
    run.expect("/p_flags/plain", "3")
    run.expect("plain", "2")


@scenario(
    "publishing.LostFlags",
    "C34",
    differs={
        "flags-reach-the-wire": """
            - wire service/p_lost/dict q0 r0 {"a": 1}
            + wire p_lost/global q0 r0 {"a": 1}
            + wire service/p_lost/dict q1 r0 {"a": 1}
            - wire service/p_lost/json q0 r0 [1]
            - wire service/p_lost/keys/a q0 r0 1
            + wire service/p_lost/json q1 r0 [1]
            + wire service/p_lost/keys/a q1 r0 1
            - wire service/p_lost/p_lost/global q0 r0 {"a": 1}
        """,
    },
)
def no_flag_is_lost(run: Run) -> None:
    """The qos of JSON, and `global_` of dicts."""
    _go(run)


@scenario(
    "publishing.Changed",
    "C35",
    in_order=True,
    differs={
        "last-value-is-the-last": """
            - wire service/p_changed/value q0 r0 1
        """,
    },
)
def unchanged_values_are_not_sent_again(run: Run) -> None:
    """`only_if_changed=True`."""
    _go(run)


@scenario("publishing.Aged", "C35", in_order=True)
def unchanged_values_are_sent_again_when_old(run: Run) -> None:
    """`only_if_changed=timedelta(...)`."""
    _go(run)


@scenario(
    "publishing.Between",
    "C35",
    in_order=True,
    differs={
        "last-value-is-the-last": """
            + wire service/p_between/value q0 r0 a
        """,
    },
)
def a_plain_publish_counts_as_the_last_value(run: Run) -> None:
    """What is on the wire is what the next value is compared with."""
    _go(run)


@scenario(
    "publishing.Mixed",
    "C35",
    differs={
        "last-value-is-the-last": """
            - wire service/p_mixed/value q0 r0 12
            - wire service/p_mixed/value q0 r0 12
            - wire service/p_mixed/value q0 r0 12
        """,
    },
)
def both_forms_of_only_if_changed_on_one_topic(run: Run) -> None:
    """They share one memory."""
    _go(run)


@scenario("publishing.Cleared", "C4 C35", in_order=True)
def clearing_the_last_values_sends_them_again(run: Run) -> None:
    """`last_key_values` is cleared, replaced, popped from."""
    _go(run)


@scenario(
    "publishing.BadTopics",
    "C37",
    differs={
        "errors-name-the-topic": """
            - log ERROR main Invalid topic. ! ValueError
            - log ERROR main Publish topic cannot contain wildcards. ! ValueError
            - log ERROR main Publish topic cannot contain wildcards. ! ValueError
            + log ERROR main cannot publish on ''
            + log ERROR main cannot publish on 'service/p_invalid/a/#'
            + log ERROR main cannot publish on 'service/p_invalid/a/+/b'
        """,
    },
)
def invalid_topics_are_logged(run: Run) -> None:
    """A wildcard or nothing as a topic is an error line; the service goes on."""
    _go(run)


@scenario("publishing.Burst", "C30 C44", in_order=True)
def a_burst_arrives_in_order(run: Run) -> None:
    """600 messages from one handler, QoS 0 and 1."""
    _go(run)


@scenario(
    "publishing.Virtual",
    "C5",
    in_order=True,
    differs={
        "no-heartbeat-offline": """
            - log INFO main publishing service/p_virtual/online
        """,
    },
)
def publish_may_be_overridden(run: Run) -> None:
    """All ways lead through `self.publish`."""
    run.start()
    run.send("go")
    run.expect("v/done")


@scenario("publishing.VirtualJson", "C5", in_order=True)
def publish_json_and_rounding_may_be_overridden(run: Run) -> None:
    """Dicts and lists go through `self.publish_json`, floats through `self._round_floats`."""
    _go(run)


@scenario("publishing.Threads", "C30 C35")
def threads_may_publish(run: Run) -> None:
    """Each thread's messages arrive in its order."""
    _go(run)


@scenario(
    "publishing.Returned",
    "C36 C33",
    differs={
        "publish-returns-something": """
            - out NoneType
            - out NoneType
            - out NoneType
            + out PublishInfo
            + out PublishInfo
            + out list
        """,
    },
)
def publish_tells_what_became_of_it(run: Run) -> None:
    """`publish` returned nothing in 1.x."""
    _go(run)


@scenario(
    "publishing.Early",
    "C44 C40",
    differs={
        "nothing-lost-offline": """
            + wire service/p_early/value q0 r0 5
            + wire service/p_early/version q0 r1 1.0
        """,
    },
)
def what_is_published_before_the_connect_is_sent(run: Run) -> None:
    """A service publishes in `__init__`, and again what it takes for unchanged."""
    _go(run)


@scenario("publishing.Prefixed", "C11", prefix="haus/p_topic/sub/")
def the_prefix_can_be_configured(run: Run) -> None:
    """`data_topic` of the service's section is the prefix, of the will too."""
    run.configure(service="data_topic: haus/p_topic/sub/")
    run.start()
    run.send("go", "x")
    run.expect("done", "x")
    run.expect("/p_topic/absolute", "haus/p_topic/sub/online")


@scenario(
    "publishing.Glued",
    "C11",
    prefix="haus/p_glued",
    differs={
        "configuration-warnings": """
            + log WARNING main data_topic has no slash at its end
        """,
    },
)
def a_prefix_without_a_slash_is_taken_as_it_is(run: Run) -> None:
    """Topics are glued to it, as ever."""
    run.configure(service="data_topic: haus/p_glued")
    run.start()
    run.send("go", "x")
    run.expect("done", "x")
