"""The shapes that services have in the field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.scenario import scenario

if TYPE_CHECKING:
    from compat.run import Run


@scenario("shapes.OwnStep", "C5 C55")
def loop_step_with_a_blocking_read(run: Run) -> None:
    """An override of `_loop_step` that never calls the original still gets messages and loops."""
    run.start()
    for text in ("one", "zwei ü"):
        run.send("write", text)
        run.expect("read", text)


@scenario("shapes.StepAndMore", "C55")
def loop_step_that_calls_the_original(run: Run) -> None:
    """An override of `_loop_step` that does."""
    run.start()
    run.send("report")
    run.expect("stepped", "True")


@scenario("shapes.Serial", "C50 C51", in_order=True)
def a_serial_port_is_read_in_a_loop(run: Run) -> None:
    """Lines of a meter on a pseudo terminal."""
    run.start()
    for text in ("1-0:1.8.0*255(00123.4*kWh)", "ünit"):
        run.send("meter", text)
        run.expect("line", text)


@scenario(
    "shapes.WaitsForPort",
    "C55",
    differs={
        "wait-for-work": """
            - wire service/r_waits/waited q0 r0 False
            + wire service/r_waits/waited q0 r0 True
        """,
    },
)
def wait_for_work_on_a_serial_port(run: Run) -> None:
    """An override of `_wait_for_work`."""
    run.start()
    run.send("meter", "x")
    run.expect("line", "x")
    run.send("by_hand")
    run.expect("waited")


@scenario(
    "shapes.Awaiting",
    "C20",
    differs={
        "async-def": """
            + wire service/r_awaiting/answer q0 r0 x
        """,
    },
)
def async_handler(run: Run) -> None:
    """An `async def` handler beside an ordinary one."""
    run.start()
    run.send("ask", "x")
    run.send("plain", "x")
    run.expect("plain_answer", "x")


@scenario(
    "shapes.Threaded",
    "C2 C54",
    differs={
        "clean-end": """
            + log INFO main MQTT disconnected, rc=0
        """,
    },
)
def a_service_that_is_a_thread(run: Run) -> None:
    """`class S(miqro.Service, threading.Thread)`."""
    run.start()
    run.send("who")
    run.expect("alive", "True")
    run.send("stop")
    run.end(None)


@scenario("shapes.Helpers", "C50 C53 C12")
def loops_and_handlers_of_helpers(run: Run) -> None:
    """Helpers with `Loop` objects, started and stopped from handlers that are methods of the helper."""
    run.start()
    run.send("links/start", "3")
    run.send("rechts/start", "2")
    run.expect("links/left", "1")
    run.expect("rechts/left", "1")
    run.send("links/stop")
    run.expect("links/stop_done", "None")
    run.send("links/start", "1")
    run.expect("links/left", "1")


@scenario("shapes.Shared", "C2 C4")
def two_instances_in_one_process(run: Run) -> None:
    """Constructed twice; only what the author shares is shared."""
    run.start()
    run.send("see", "by the second")
    run.expect("seen")


@scenario(
    "shapes.Rerun",
    "C2 C40 C54",
    differs={
        "clean-end": """
            + wire service/r_again/online q0 r1 0
            + wire service/r_again/online q0 r1 1
            + wire service/r_again/online q0 r1 0
            + log INFO main MQTT disconnected, rc=0
            + log INFO main MQTT disconnected, rc=0
            - log WARNING main MQTT disconnected, rc=0
            - log WARNING main MQTT disconnected, rc=0
        """,
    },
)
def run_again_in_one_process(run: Run) -> None:
    """A second instance runs when the first has ended."""
    run.start()
    start = run.events_so_far()
    run.send("stop")
    run.wait_gone(start)
    run.wait_online(start)
    run.send("stop")
    run.end(None)


@scenario("shapes.Attributes", "C2")
def attribute_names_are_the_authors(run: Run) -> None:
    """A service may use names with an underscore for itself."""
    run.start()
    run.send("report")
    run.expect("names")


@scenario("shapes.Background", "C30", in_order=True)
def a_thread_of_the_author_publishes(run: Run) -> None:
    """From a thread that a handler started."""
    run.start()
    run.send("start")
    run.expect("measured/done")


@scenario("shapes.Waiting", "C12 C35 C51")
def commands_are_worked_off_in_a_loop(run: Run) -> None:
    """A handler takes, a loop publishes, retained, if changed."""
    run.start()
    for payload in ("1", "2"):
        for key in ("küche/licht", "bad"):
            run.send(f"set/{key}", payload)
            run.expect(f"state/{key}", payload)
            run.send(f"set/{key}", payload)


@scenario("shapes.Backwards", "C10 C40")
def retained_commands_are_there_at_the_start(run: Run) -> None:
    """Retained messages of before the start are handled."""
    run.send("mode", "eco", retain=True)
    run.send("/r_retained/weather/rain", "1", retain=True)
    run.start()
    run.expect("mode_is", "eco")
    run.expect("weather", "rain=1")
    run.send("mode", b"", retain=True)
    run.send("/r_retained/weather/rain", b"", retain=True)
    run.expect("mode_is", b"")
    run.expect("weather", "rain=")


@scenario("shapes.Instance", "C3", in_order=True)
def constants_may_be_set_on_the_instance(run: Run) -> None:
    """Class attributes that `__init__` sets."""
    run.start()
    run.send("report")
    run.expect("host")
