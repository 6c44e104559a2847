"""Handlers: which are called, with what, in which order (C10 to C20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.scenario import scenario

if TYPE_CHECKING:
    from compat.run import Run


@scenario("handlers.Echo", "C10 C11 C12 C30")
def a_handler_answers(run: Run) -> None:
    """A handler below the prefix gets the payload and publishes below the prefix."""
    run.start()
    for text in ("hello", "", "Grüße"):
        run.send("echo", text)
        run.expect("echo_response", text)


@scenario("handlers.Postfix", "C10 C12 C13")
def a_hash_filter_gives_the_rest_of_the_topic(run: Run) -> None:
    """Handlers of `#` filters, own and global, get payload and postfix; global exact topics the payload."""
    run.start()
    run.send("sms/send/alice", "hi")
    run.expect("sent", "alice: hi")
    run.send("sms/send/a/b/c", "deep")
    run.expect("sent", "a/b/c: deep")
    run.send("/h_postfix/devices/TPMS/7/pressure", "2.1")
    run.expect("tpms", "7/pressure: 2.1")
    run.send("/h_postfix/Oregon-v1/temperature_C", "21")
    run.expect("temperature", "21")


@scenario(
    "handlers.Parent",
    "C13",
    differs={
        "matching-of-mqtt": """
            + wire service/h_parent/got q0 r0 '' all
            - log ERROR main no handler for service/h_parent/set, only…/#, service/h_parent/enabled
        """,
    },
)
def a_hash_filter_takes_the_parent_level(run: Run) -> None:
    """`set/#` takes `set` too."""
    run.start()
    run.send("set", "all")
    run.send("set/", "empty")
    run.send("set/x", "end")
    run.expect("got", "'x' end")


@scenario(
    "handlers.Plus",
    "C13 C17",
    differs={
        "matching-of-mqtt": """
            + wire service/h_plus/light q0 r0 on
            - log ERROR main no handler for service/h_plus/room/kitchen/light,…/end, service/h_plus/enabled
        """,
    },
)
def a_plus_filter_is_dispatched(run: Run) -> None:
    """A handler of a `+` filter is called."""
    run.start()
    run.send("room/kitchen/light", "on")
    run.send("end", "1")
    run.expect("ended", "1")


@scenario("handlers.Text", "C14")
def payloads_are_stripped_text(run: Run) -> None:
    """The payload is text: stripped, malformed UTF-8 replaced."""
    run.start()
    for payload in (
        b" \t padded \r\n",
        b"\xff\xfe broken",
        b"",
        b"a\x00b",
        b"\xef\xbb\xbfbom",
        b"\xc2\xa0nbsp\xc2\xa0",
    ):
        run.send("text", payload)
        run.expect("repr")


@scenario("handlers.Overlap", "C13 C10")
def all_handlers_of_a_topic_run_in_order(run: Run) -> None:
    """Global handlers first, then the service's own in order of registration; one added twice runs twice."""
    run.start()
    run.send("go")
    run.send("report")
    run.expect("calls")


@scenario("handlers.Unhandled", "C17")
def what_nobody_handles_goes_to_handle_message(run: Run) -> None:
    """`handle_message` takes what no handler does; what it declines is an error in the log."""
    run.start()
    run.send("by_hand/x", "1")
    run.expect("handled")
    run.send("by_hand_nobody", "2")
    run.send("end", "3")
    run.expect("ended", "3")


@scenario(
    "handlers.Switch",
    "C18",
    differs={
        "enabled-works": """
            + wire service/h_switch/pong q0 r0 heard
            + log INFO main set enabled to False
            + log INFO main set enabled to True
            - crash of a thread: TypeError
        """,
    },
)
def the_topic_enabled_switches_the_service(run: Run) -> None:
    """`0` on `enabled` stops the dispatch, `1` resumes it."""
    run.start()
    run.send("enabled", "0")
    run.send("ping", "unheard")
    run.send("enabled", "1")
    run.send("ping", "heard")
    run.expect_or_die("pong", "heard")


@scenario("handlers.Json", "C19")
def accept_json_gives_keyword_arguments(run: Run) -> None:
    """The members of a JSON object are keyword arguments."""
    run.start()
    run.send("set", '{"brightness": 3}')
    run.expect("light")
    run.send("set", '{"brightness": 2.5, "color": "blü", "x": [1, null], "y": {"z": true}}')
    run.expect("light")


@scenario(
    "handlers.BadJson",
    "C19 C16",
    differs={
        "exceptions-end-nothing": """
            + wire service/h_malformed/ended q0 r0 alive
            + log ERROR main handler set_light failed for service/h_malformed/set ! ValueError
            - crash of a thread: JSONDecodeError
        """,
    },
)
def malformed_json_is_an_error_of_that_message(run: Run) -> None:
    """One malformed message is logged; the service goes on."""
    run.start()
    run.send("set", "{not json")
    run.send("end", "alive")
    run.expect_or_die("ended", "alive")


@scenario(
    "handlers.JsonPostfix",
    "C19",
    differs={
        "accept-json-below-a-hash": """
            + wire service/h_below/lamp_set q0 r0 desk 7
            - crash of a thread: TypeError
        """,
    },
)
def accept_json_in_a_hash_filter(run: Run) -> None:
    """The rest of the topic comes first."""
    run.start()
    run.send("lamp/desk", '{"brightness": 7}')
    run.expect_or_die("lamp_set")


@scenario(
    "handlers.Raises",
    "C16",
    differs={
        "exceptions-end-nothing": """
            + wire service/h_raises/quotient q0 r0 0.25
            + log ERROR main handler divide failed for service/h_raises/divide ! ZeroDivisionError
            - crash of a thread: ZeroDivisionError
        """,
    },
)
def an_exception_in_a_handler_is_logged(run: Run) -> None:
    """A handler that fails once works the next time."""
    run.start()
    run.send("divide", "0")
    run.send("divide", "4")
    run.expect_or_die("quotient", "0.25")


@scenario(
    "handlers.Stacked",
    "C10",
    differs={
        "decorators-stack": """
            + wire service/h_stacked/both q0 r0 1
            + wire service/h_stacked/both q0 r0 2
            + session h_stacked subscribe service/h_stacked/two q1
            - crash of a thread: TypeError
            + log INFO main subscribing to service/h_stacked/two
        """,
    },
)
def decorators_stack(run: Run) -> None:
    """A method with two decorators is called for both topics."""
    run.start()
    run.send("one", "1")
    run.expect_or_die("both", "1")
    run.send("two", "2")
    run.expect_or_die("both", "2")


@scenario(
    "handlers.Callable",
    "C10",
    differs={
        "handlers-are-methods": """
            + wire service/h_callable/direct_done q0 r0 2!
            - crash of a thread: TypeError
        """,
    },
)
def a_handler_can_be_called_like_a_method(run: Run) -> None:
    """`self.handler(payload)` works."""
    run.start()
    run.send("direct", "1")
    run.expect("direct_done", "1")
    run.send("indirect", "2")
    run.expect_or_die("direct_done", "2!")


@scenario("handlers.Derived", "C10")
def a_subclass_inherits_handlers_and_loops(run: Run) -> None:
    """Handlers and loops of the base class, and its own."""
    run.start().wait_err("common loop$")
    run.send("common", "1")
    run.expect("common_done", "1")
    run.send("own", "2")
    run.expect("own_done", "2")


@scenario(
    "handlers.Overriding",
    "C10",
    differs={
        "classes-keep-to-themselves": """
            - wire service/h_overriding/common_done q0 r0 1
        """,
    },
)
def an_overridden_handler_is_replaced(run: Run) -> None:
    """Only the subclass's method runs."""
    run.start()
    run.send("common", "1")
    run.expect("common_done", "overridden 1")


@scenario(
    "handlers.Elder",
    "C10",
    differs={
        "classes-keep-to-themselves": """
            - wire service/h_elder/younger_done q0 r0 2
            - session h_elder subscribe service/h_elder/younger q1
            - log INFO main subscribing to service/h_elder/younger
        """,
    },
)
def siblings_do_not_share_handlers(run: Run) -> None:
    """A class has no handlers of its sibling."""
    run.start()
    run.send("common", "1")
    run.expect("common_done", "1")
    run.send("younger", "2")
    run.send("common", "3")
    run.expect("common_done", "3")


@scenario(
    "handlers.Mixed",
    "C10",
    differs={
        "classes-keep-to-themselves": """
            + wire service/h_mixed/fan_done q0 r0 2
            + session h_mixed subscribe service/h_mixed/fan q1
            + log INFO main subscribing to service/h_mixed/fan
        """,
    },
)
def mixins_bring_their_handlers(run: Run) -> None:
    """The handlers of all bases are there."""
    run.start()
    run.send("lamp", "1")
    run.expect("lamp_done", "1")
    run.send("fan", "2")
    run.send("own", "3")
    run.expect("own_done", "3")


@scenario("handlers.Later", "C5 C12 C53")
def handlers_are_added_before_and_after_the_connect(run: Run) -> None:
    """`add_handler` and `add_global_handler` in `__init__` and at run time, bound methods and functions."""
    run.start()
    run.send("early", "1")
    run.expect("early_done", "1")
    run.send("/h_later/early/x/y", "2")
    run.expect("early_global_done", "x/y 2")
    run.send("add", "late")
    run.expect("added", "late")
    run.send("late", "3")
    run.expect("late_done", "3")
    run.send("/h_later/late", "4")
    run.expect("late_global_done", "4")


@scenario("handlers.Appended", "C4")
def the_list_of_handlers_may_be_appended_to(run: Run) -> None:
    """`mqtt_handlers.append((topic, callable))` is a way to register."""
    run.start()
    run.send("color/green", "1")
    run.expect("color", "green 1")
    run.send("color/red", "2")
    run.expect("color", "red 2")


@scenario(
    "handlers.BoundOneArgument",
    "C12",
    differs={
        "methods-with-the-payload-only": """
            + wire service/h_bound/bound_done q0 r0 1
            - crash of a thread: TypeError
        """,
    },
)
def a_bound_method_need_not_take_the_service(run: Run) -> None:
    """A bound method that takes the payload only is called with it."""
    run.start()
    run.send("bound", "1")
    run.expect_or_die("bound_done", "1")


@scenario("handlers.Umlaut", "C11 C14 C31 C32")
def umlauts_everywhere(run: Run) -> None:
    """In the service's name, topics, payloads, keys and the log."""
    run.start()
    run.send("tür/öffnen", "Jürgen")
    run.expect("tür/schlüssel/groß", "Ä")


@scenario("handlers.Watching", "C5 C15")
def on_message_may_be_overridden(run: Run) -> None:
    """An override of `_on_message` sees every message, and decides which is handled."""
    run.start()
    run.send("ignored", "1")
    run.send("seen", "2")
    run.expect("count")


@scenario(
    "handlers.Thread",
    "C15",
    differs={
        "one-thread": """
            - wire service/h_thread/on_main_thread q0 r0 False
            + wire service/h_thread/on_main_thread q0 r0 True
        """,
    },
)
def handlers_run_on_the_thread_of_the_loops(run: Run) -> None:
    """Handlers and loops take turns on the thread that called `run()`."""
    run.start()
    run.expect("loop_on_main_thread", "True")
    run.send("who")
    run.expect("on_main_thread")


@scenario(
    "handlers.Waits",
    "C15",
    differs={
        "one-thread": """
            - wire service/h_waits/answered q0 r0 True
            + wire service/h_waits/answered q0 r0 False
        """,
    },
)
def a_handler_cannot_wait_for_a_loop(run: Run) -> None:
    """The other side of it: what waits for the other waits in vain."""
    run.start()
    run.send("ask")
    run.expect("answered")


@scenario(
    "handlers.BadFilter",
    "C13",
    differs={
        "invalid-filters-are-refused": """
            - log INFO main subscribing to service/h_filter/a/#/b
        """,
    },
)
def an_invalid_filter_is_refused(run: Run) -> None:
    """`add_handler` raises a ValueError."""
    run.start()
    run.send("add")
    run.expect("refused", "ValueError")


@scenario(
    "handlers.NoPayload",
    "C12 C16",
    differs={
        "exceptions-end-nothing": """
            + wire service/h_forgot/pong q0 r0 2
            + log ERROR main handler reset failed for service/h_forgot/reset ! TypeError
            + log ERROR main the handler for service/h_forgot/reset cannot be called
            - crash of a thread: TypeError
        """,
    },
)
def a_handler_that_takes_too_little_is_named(run: Run) -> None:
    """It is an error line, at start and for each message; the others work."""
    run.start()
    run.send("reset", "1")
    run.send("ping", "2")
    run.expect_or_die("pong", "2")
