"""Names, configuration, state, logging and the command line (C1 to C4, C56 to C58, C61)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.scenario import scenario

if TYPE_CHECKING:
    from compat.run import Run


@scenario(
    "settings.Names",
    "C1 C2 C3 C4",
    differs={
        "float-precision": """
            - out JSON_FLOAT_PRECISION 4
            + out JSON_FLOAT_PRECISION 5
        """,
        "constants-are-text": """
            - out PAYLOAD_ON 1
            - out PAYLOAD_OFF 0
            + out PAYLOAD_ON '1'
            + out PAYLOAD_OFF '0'
        """,
    },
)
def names_are_there_and_mean_the_same(run: Run) -> None:
    """What `import miqro` gives, class attributes, instance attributes."""
    run.start()
    run.send("end")
    run.expect("state", "(True, False, True)")


@scenario("settings.Values", "C57")
def yaml_is_read_as_before(run: Run) -> None:
    """YAML 1.1, as PyYAML reads it."""
    run.configure(
        service="""
yes: on
octal: 010
sexagesimal: 1:30
hex: 0xFF
float: 1.5e+3
not_float: 1e3
date: 2024-02-29
time: 2024-02-29T12:00:00Z
null_value: ~
quoted: "010"
umlaut: "Küche \\u20ac"
list: [1, "2", [3]]
anchor: &a {x: 1}
merged: {<<: *a, y: 2}
block: |
  one
  two
folded: >
  one
  two
binary: !!binary aGFsbG8=
tuple: !!python/tuple [1, 2]
3: number
"""
    )
    run.start()


@scenario("settings.NoSection", "C58")
def a_missing_section_is_a_warning(run: Run) -> None:
    """The service runs with an empty section."""
    run.configure(service="")
    run.start()


@scenario(
    "settings.NullSection",
    "C58",
    differs={
        "empty-is-nothing-set": """
            - crash of the process: AttributeError
            - exit 1
            + wire service/c_nullsection/online q0 r1 1
            + wire service/c_nullsection/online q0 r1 0
            + session c_nullsection connect p2, c1, k60
            + session c_nullsection will r1, q0
            + session c_nullsection subscribe service/c_nullsection/enabled q1
            + log INFO main connected
            + log INFO main started
            + log INFO main subscribing to service/c_nullsection/enabled
            + log WARNING main miqro.yml:5:3: the section 'c_nullsection' is empty; nothing is set for this service
            + exit -9
        """,
    },
)
def an_empty_section_is_nothing_set(run: Run) -> None:
    """`services: {name: }`."""
    run.configure(service="")
    path = run.folder / "miqro.yml"
    path.write_text(path.read_text("utf-8") + f"services:\n  {run.name}:\n", encoding="utf-8")
    start = run.events_so_far()
    run.launch()
    run.wait_online(start, or_end=True)


@scenario(
    "settings.EmptyFile",
    "C58",
    differs={
        "empty-is-nothing-set": """
            - crash of the process: AttributeError
            - exit 1
            + out {} service/c_emptyfile/
            + log INFO main started
            + log WARNING main miqro.yml: the file is empty; defaults are used
            + log WARNING main no section for c_emptyfile
            + exit 0
        """,
    },
)
def an_empty_file_is_nothing_set(run: Run) -> None:
    """Defaults are used, with a warning."""
    (run.folder / "miqro.yml").write_text("", encoding="utf-8")
    run.launch()
    run.end(None)


@scenario(
    "settings.NoFile",
    "C58",
    differs={
        "configuration-errors": """
            - crash of the process: Exception
            + crash of the process: ConfigError
        """,
    },
)
def no_file_is_an_error(run: Run) -> None:
    """It lists every path."""
    run.launch()
    run.end(None)


@scenario(
    "settings.Twice",
    "C2 C58",
    differs={
        "paths-stay-with-their-service": """
            - out other
            + out default
        """,
    },
)
def a_path_of_the_constructor_is_for_that_service(run: Run) -> None:
    """A service constructed three times in one process, once with a path."""
    run.configure(service="which: default")
    text = (run.folder / "miqro.yml").read_text("utf-8")
    (run.folder / "other.yml").write_text(text.replace("default", "other"), encoding="utf-8")
    run.start()


@scenario(
    "settings.Missing",
    "C58",
    differs={
        "configuration-warnings": """
            + log WARNING main not_there.yml: there is no such file; <folder>/miqro.yml is used instead
        """,
    },
)
def a_path_that_does_not_exist_is_passed_over(run: Run) -> None:
    """Another file is used; that is said now."""
    run.start()


@scenario(
    "settings.Level",
    "C58",
    differs={
        "log-level-in-the-file": """
            - out DEBUG
            - log INFO main connected
            - log INFO main started
            - log INFO main subscribing to service/c_level/enabled
            + out WARNING
        """,
    },
)
def log_level_in_the_file(run: Run) -> None:
    """It counts where the constructor has none."""
    run.configure(more="log_level: WARNING\n")
    run.start()


@scenario("settings.OwnLogging", "C58")
def a_program_with_logging_of_its_own_keeps_it(run: Run) -> None:
    """No handler is added."""
    run.start()


@scenario("settings.Overrides", "C5 C41", prefix="c_overrides/own/", online="alive")
def reading_the_configuration_may_be_overridden(run: Run) -> None:
    """Prefix, will topic and broker settings as the override leaves them."""
    run.start()
    run.send("ping", "1")
    run.expect("pong", "1")


def _report_twice(run: Run, *, first_by_original: bool, second_by_original: bool) -> None:
    for by_original in (first_by_original, second_by_original):
        run.start(by=run.stage.original if by_original else None)
        run.send("report")
        run.expect("report/done")
        run.end()


@scenario("settings.Counter", "C56")
def state_survives_a_restart(run: Run) -> None:
    """Written and read by the same."""
    _report_twice(run, first_by_original=False, second_by_original=False)


@scenario("settings.Upgraded", "C56")
def state_survives_the_upgrade(run: Run) -> None:
    """Written by 1.3.0, read by either."""
    _report_twice(run, first_by_original=True, second_by_original=False)


@scenario("settings.Downgraded", "C56")
def state_survives_a_downgrade(run: Run) -> None:
    """Written by either, read by 1.3.0."""
    _report_twice(run, first_by_original=False, second_by_original=True)


@scenario(
    "settings.Paths",
    "C56",
    differs={
        "state-is-like-a-dict": """
            - wire service/c_paths/dict/done q0 r0 KeyError
            + wire service/c_paths/dict/done q0 r0 (True, False)
            - wire service/c_paths/position/done q0 r0 TypeError
            + wire service/c_paths/position/done q0 r0 3
        """,
    },
)
def state_is_read_and_set_by_path(run: Run) -> None:
    """By keyword as 1.x had it; by position as it was documented; like a dict."""
    run.start()
    for topic in ("keyword", "missing", "position", "dict"):
        run.send(topic)
        run.expect(f"{topic}/done")


@scenario("settings.OwnState", "C56 C2")
def a_double_of_the_state_is_used(run: Run) -> None:
    """`state_cls`."""
    run.start()
    run.send("report")
    run.expect("report/done", "3")


@scenario("settings.Command", "C61")
def run_takes_a_configuration_file(run: Run) -> None:
    """`miqro.run` with `-c`; the level is INFO."""
    run.configure()
    (run.folder / "miqro.yml").rename(run.folder / "another.yml")
    (run.folder / "miqro.yml").write_text("broker: {host: nowhere.invalid}\n", encoding="utf-8")
    run.start("-c", "another.yml")
    run.send("ping", "1")
    run.expect("pong", "1 INFO")


@scenario("settings.Verbose", "C61")
def run_verbose_logs_everything(run: Run) -> None:
    """`miqro.run` with `-v`; the level is DEBUG."""
    run.start("-v")
    run.send("ping", "1")
    run.expect("pong", "1 DEBUG")


@scenario(
    "settings.Debugged",
    "C61",
    prefix="c_debug/service/c_debugged/",
    differs={
        "debug-client-id": """
            - session c_debugged connect p2, c1, k60
            - session c_debugged will r1, q0
            - session c_debugged subscribe service/c_debugged/enabled q1
            - session c_debugged subscribe service/c_debugged/ping q1
            + session c_debugged-debug-<pid> connect p2, c1, k60
            + session c_debugged-debug-<pid> will r1, q0
            + session c_debugged-debug-<pid> subscribe service/c_debugged/enabled q1
            + session c_debugged-debug-<pid> subscribe service/c_debugged/ping q1
        """,
    },
)
def a_debug_run_publishes_elsewhere(run: Run) -> None:
    """`--mqtt-debug-prefix`: publishes and the will are prefixed, subscriptions are real."""
    start = run.events_so_far()
    run.launch("--mqtt-debug-prefix", "c_debug/")
    run.stage.log.wait_for(
        lambda event: event.client.startswith(run.name) and "enabled" in event.detail, "it subscribes", start
    )
    run.expect("online", "1")
    run.send("/service/c_debugged/ping", "1")
    run.expect("pong", "1")
