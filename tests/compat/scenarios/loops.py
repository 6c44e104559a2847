"""Loops: when, how often, and how they are managed (C50 to C55)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.scenario import scenario

if TYPE_CHECKING:
    from compat.run import Run


@scenario("loops.Stops", "C50 C51", in_order=True)
def a_loop_that_returns_false_stops(run: Run) -> None:
    """It is called three times, and no more."""
    run.start()
    run.send("go")
    run.expect("done")


@scenario("loops.Regular", "C50 C51")
def loops_have_the_intervals_they_ask_for(run: Run) -> None:
    """`@miqro.loop` with the arguments of `timedelta`; no call comes early."""
    run.start()
    run.expect("done")
    run.send("report")
    assert run.script is not None
    run.script.wait_out("^enough")


@scenario("loops.Managed", "C50 C53")
def loops_are_managed_from_handlers(run: Run) -> None:
    """`start=False`, `start()`, `stop()`, `interval = ...`, `restart(delayed=True)`."""
    run.start()
    run.send("start")
    run.expect("polled", "1")
    run.send("stop")
    run.expect("stop_done", "None")
    run.send("start")
    run.expect("polled", "1")
    run.send("slow")
    run.expect("slowed", "True")


@scenario("loops.Busy", "C51 C55", in_order=True)
def a_loop_without_pause_lets_commands_through(run: Run) -> None:
    """`@miqro.loop(seconds=0)` with a 5 ms time-out, 20 commands meanwhile."""
    run.start()
    for number in range(20):
        run.send("command", str(number))
        run.expect("command_done", str(number))
    run.send("report")
    run.expect("polled", "often")


@scenario(
    "loops.Fails",
    "C16 C51",
    differs={
        "exceptions-end-nothing": """
            + wire service/l_fails/recovered q0 r0 1
            + log ERROR main Loop(work) failed ! OSError
            - crash of the process: OSError
            - exit 1
            + exit -9
        """,
    },
)
def a_loop_that_raises_is_called_again(run: Run) -> None:
    """An exception in a loop is logged, and it is called again."""
    run.start()
    run.send("go")
    run.expect_or_die("recovered")


@scenario("loops.Stats", "C50 C52", in_order=True)
def loops_can_be_stepped_and_asked(run: Run) -> None:
    """`run_if_needed`, `stat_get`, `stat_reset`, `str(loop)`."""
    run.start()
    run.send("go")
    run.expect("done")


@scenario("loops.SlowLoop", "C52", statistics=True)
def an_overloaded_loop_is_a_warning(run: Run) -> None:
    """The statistics say that a loop takes longer than its interval."""
    run.start()
    run.expect("second_beat")


@scenario("loops.Added", "C53", in_order=True)
def a_loop_is_added_at_run_time(run: Run) -> None:
    """`add_loop` in a handler; it is called at once."""
    run.start()
    run.send("add")
    run.expect("added_ran")


@scenario("loops.OwnLoops", "C5")
def create_loops_may_be_overridden(run: Run) -> None:
    """Loops of an override of `_create_loops` are called."""
    run.start()
    run.expect("tick")


@scenario(
    "loops.Punctual",
    "C51",
    differs={
        "loops-are-punctual": """
            - wire service/l_punctual/in_time q0 r0 False
            + wire service/l_punctual/in_time q0 r0 True
        """,
    },
)
def loops_keep_their_rhythm(run: Run) -> None:
    """1.x looked every 200 ms, and called a loop of 300 ms every 400 ms."""
    run.start()
    run.expect("in_time")


@scenario(
    "loops.Negative",
    "C51",
    differs={
        "negative-intervals": """
            - wire service/l_negative/made q0 r0 accepted
            + wire service/l_negative/made q0 r0 ValueError
        """,
    },
)
def a_negative_interval_is_refused(run: Run) -> None:
    """1.x took it, and called the loop all the time."""
    run.start()
    run.send("go")
    run.expect("made")
