"""The command line of a service: options, systemd units, debug runs (contract C61)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miqro._cli import install, run, unit
from systemd_words import command, sections, without_specifiers, words

SCRIPT = """\
import miqro

class Echo(miqro.Service):
    SERVICE_NAME = {name!r}

if __name__ == "__main__":
    miqro.run(Echo)
"""


class Place:
    """A directory with a service in it, a configuration, and a systemctl that notes what it is told."""

    def __init__(self, directory: Path, name: str = "echo") -> None:
        self.directory = directory
        self.script = directory / "my echo 100%.py"
        self.script.write_text(SCRIPT.format(name=name), encoding="utf-8")
        shutil.copy(self.script, directory / "echo_module.py")
        (directory / "my $config.yml").write_text("broker: {}\n")
        self.calls = directory / "systemctl.calls"
        binaries = directory / "bin"
        binaries.mkdir()
        (binaries / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {str(self.calls)!r}\n')
        (binaries / "systemctl").chmod(0o755)
        self.environment = {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config home"),
            # A debug build warns on import; these tests read what the command line says.
            "PYTHONWARNINGS": "ignore::RuntimeWarning",
        }

    def call(
        self, *arguments: str, module: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        start = ["-m", "echo_module"] if module else [str(self.script)]
        return subprocess.run(
            [sys.executable, *start, *arguments],
            cwd=self.directory,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def dry_run(self, *arguments: str, **options: Any) -> dict[str, list[tuple[str, str]]]:
        done = self.call("--install", "--dry-run", *arguments, **options)
        assert done.returncode == 0, done.stderr
        return sections(done.stdout)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    directory = tmp_path / "with space"
    directory.mkdir()
    return Place(directory)


def test_the_unit_starts_the_script_as_it_was_started_by_hand(place: Place) -> None:
    """C61, bug 42: absolute paths, options carried over, the working directory."""
    service = dict(place.dry_run("-c", "my $config.yml", "-v", "-u", "nobody")["Service"])
    assert command(service["ExecStart"]) == [
        sys.executable,
        str(place.script),
        "-c",
        str(place.directory / "my $config.yml"),
        "-v",
    ]
    assert without_specifiers(service["WorkingDirectory"]) == str(place.directory)
    assert service["User"] == "nobody"


def test_the_unit_starts_a_module_as_a_module(place: Place) -> None:
    """C61: `python -m`."""
    service = dict(place.dry_run(module=True)["Service"])
    assert command(service["ExecStart"]) == [sys.executable, "-m", "echo_module"]


def test_the_unit_starts_a_package_by_its_name(place: Place) -> None:
    """C61: a package's `__main__` is started by the package's name, a directory's by the directory."""
    package = place.directory / "echo_package"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(place.script, package / "__main__.py")
    for start, expected in [
        (["-m", "echo_package"], ["-m", "echo_package"]),
        (["echo_package"], [str(package)]),
    ]:
        done = subprocess.run(
            [sys.executable, *start, "--dry-run"],
            cwd=place.directory,
            env=place.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        service = dict(sections(done.stdout)["Service"])
        assert command(service["ExecStart"]) == [sys.executable, *expected]


def test_the_unit_waits_for_the_network_and_never_gives_up(place: Place) -> None:
    """C61: after the network is online; restarted for ever; hardened, but with a place for state."""
    read = place.dry_run()
    head, service, tail = (dict(read[name]) for name in ("Unit", "Service", "Install"))
    assert head == {
        "Description": "echo MIQRO microservice",
        "Wants": "network-online.target",
        "After": "network-online.target",
        "StartLimitIntervalSec": "0",
    }
    assert service["Restart"] == "always"
    assert int(service["RestartSec"]) > 0
    assert service["User"] == "root"
    assert service["StateDirectory"] == "miqro/data"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "full"  # not strict: a service may write to its own directory
    assert tail == {"WantedBy": "multi-user.target"}


@pytest.mark.parametrize("whose", [[], ["--user"]])
def test_the_unit_has_systemd_be_told_how_the_service_is(place: Place, whose: list[str]) -> None:
    """C61: READY, and a watchdog with more patience than a slow handler needs; none of it from other processes."""
    service = dict(place.dry_run(*whose)["Service"])
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert int(service["WatchdogSec"]) >= 120
    assert int(service["TimeoutStartSec"]) >= 120


def test_the_path_of_modules_is_carried_over(place: Place) -> None:
    """C61: started as it was started by hand."""
    service = place.dry_run(PYTHONPATH="/a b:/c%d")["Service"]
    variables = [word for name, value in service if name == "Environment" for word in words(value)]
    assert variables == ["PYTHONUNBUFFERED=1", "PYTHONPATH=/a b:/c%d"]


def test_a_debug_prefix_is_carried_over(place: Place) -> None:
    """C61."""
    service = dict(place.dry_run("-d", "debug/")["Service"])
    assert command(service["ExecStart"])[2:] == ["-d", "debug/"]


def test_a_dry_run_changes_nothing(place: Place) -> None:
    """C61: `--dry-run` alone shows the unit as well."""
    before = sorted(place.directory.rglob("*"))
    assert place.call("--dry-run", "--user").stdout.startswith(
        f"# {place.directory}/config home/systemd/user/miqro_"
    )
    assert sorted(path for path in place.directory.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_user_installs_and_removes_a_service_of_their_own(place: Place) -> None:
    """C61: `--user` needs no root; the manager is told; `--uninstall` undoes it all."""
    done = place.call("--install", "--user")
    assert (done.returncode, done.stderr) == (0, "")
    path = place.directory / "config home/systemd/user/miqro_echo.service"
    assert f"Installed {path}." in done.stdout
    assert "systemctl --user enable --now miqro_echo\n" in done.stdout
    assert "sudo" not in done.stdout
    assert path.stat().st_mode & 0o777 == 0o644
    read = sections(path.read_text(encoding="utf-8"))
    assert not {"User", "StateDirectory", "ProtectSystem"} & dict(read["Service"]).keys()
    assert dict(read["Install"]) == {"WantedBy": "default.target"}

    assert place.call("--uninstall", "--user", "--dry-run").stdout.startswith(
        "Would stop and disable miqro_echo.service"
    )
    assert path.exists()
    done = place.call("--uninstall", "--user")
    assert (done.returncode, done.stdout) == (0, f"Removed {path}.\n")
    assert not path.exists()
    assert place.calls.read_text().splitlines() == [
        "--user daemon-reload",
        "--user disable --now miqro_echo.service",
        "--user daemon-reload",
    ]
    done = place.call("--uninstall", "--user")
    assert done.returncode == 1
    assert done.stderr == f"Nothing to remove: there is no {path}.\n"


def test_a_machine_without_systemctl_is_told_what_is_left_to_do(place: Place) -> None:
    """C61: the unit is written all the same."""
    done = place.call("--install", "--user", PATH="/nowhere")
    assert done.returncode == 0
    assert done.stderr == "systemctl was not found: is this a machine with systemd?\n"
    assert "systemctl --user daemon-reload\n" in done.stdout


def test_an_error_of_systemctl_is_passed_on(place: Place) -> None:
    """C61."""
    (place.directory / "bin/systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    done = place.call("--install", "--user")
    assert done.stderr == "systemctl --user daemon-reload failed: Failed to connect to bus\n"


def test_a_configuration_that_is_not_there_is_not_installed(place: Place) -> None:
    """C61: better now than at the next boot."""
    done = place.call("--install", "--user", "-c", "typo.yml")
    assert done.returncode == 1
    assert done.stderr == f"There is no configuration file {place.directory}/typo.yml.\n"


def test_what_was_not_started_from_a_file_cannot_be_installed(place: Place) -> None:
    """C61: said in words."""
    done = subprocess.run(
        [sys.executable, "-c", place.script.read_text(encoding="utf-8"), "--install", "--dry-run"],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Only a service that was started from a file")


# --- as root: in a directory of the test's own ----------------------------------------------------


def service_class(**attributes: Any) -> Any:
    """Return a class that stands for a service."""
    return type("Echo", (), {"SERVICE_NAME": "echo", "USE_STATE_FILE": False, **attributes})


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that stands for that of the system's units, for a program started from a file."""
    # Whatever runs the tests, in one process or in several, is no such program.
    program = types.ModuleType("__main__")
    program.__file__ = str(tmp_path / "service.py")
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setattr(install, "SYSTEM_UNITS", tmp_path / "units")
    monkeypatch.setattr(install, "_systemctl", lambda options, *arguments: True)
    return tmp_path / "units"


def test_a_system_service_is_installed_with_what_to_do_next(
    units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """C61."""
    run(service_class(), ["--install", "-u", "nobody"])
    assert (units / "miqro_echo.service").exists()
    assert "sudo systemctl enable --now miqro_echo\n" in capsys.readouterr().out


def test_services_of_different_users_are_warned_about_their_shared_state(
    units: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """C61: systemd gives the directory of state files to the user of whichever service starts last."""
    run(service_class(), ["--install"])
    assert "Note" not in capsys.readouterr().out
    run(service_class(SERVICE_NAME="other"), ["--install", "--install-as-user", "nobody"])
    assert "Note: miqro_echo.service runs as root, and this service as nobody." in capsys.readouterr().out


def test_an_unknown_user_is_refused(units: Path) -> None:
    """C61."""
    with pytest.raises(SystemExit, match="There is no user nobody-of-that-name"):
        run(service_class(), ["--install", "-u", "nobody-of-that-name"])
    assert not units.exists()


@pytest.mark.parametrize("action", ["--install", "--uninstall"])
def test_who_is_not_root_is_told_what_to_do(
    units: Path, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C61: in words, with both ways out; tests may run as root, so the refusal is staged."""

    def refuse(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    units.mkdir()
    (units / "miqro_echo.service").touch()
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(SystemExit) as caught:
        run(service_class(), [action])
    message = str(caught.value)
    assert message.startswith(f"Not allowed to change {units / 'miqro_echo.service'}")
    assert "with sudo" in message
    assert f"{action} --user" in message


def test_contradictions_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """C61."""
    for arguments in (["--install", "--uninstall"], ["--install", "--user", "-u", "pi"]):
        with pytest.raises(SystemExit) as caught:
            run(service_class(), arguments)
        assert caught.value.code == 2
        assert "not allowed with argument" in capsys.readouterr().err


# --- names and quoting ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service_name", "expected"),
    [
        ("echo", "miqro_echo.service"),
        ("my-heating_2.0", "miqro_my-heating_2.0.service"),
        ("living room", r"miqro_living\x20room.service"),
        ("house/cellar", "miqro_house-cellar.service"),
        ("Küche@1", r"miqro_K\xc3\xbcche\x401.service"),
    ],
)
def test_units_have_names_that_systemd_allows(service_name: str, expected: str) -> None:
    """C61: `miqro_<SERVICE_NAME>.service`, unchanged where it can be."""
    assert unit.unit_name(service_name) == expected


@given(st.lists(st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_every_word_reaches_the_program_as_it_was(arguments: list[str]) -> None:
    """C61: spaces, quotes, `%`, `$`, backslashes, control characters."""
    line = " ".join(["/bin/x", *map(unit.quote, arguments)])
    assert "\n" not in line
    assert command(line) == ["/bin/x", *arguments]


@pytest.mark.parametrize("value", ["a\nUser=root", "a\\", " a", "a\t", "\x00"])
def test_what_a_unit_cannot_say_is_refused(value: str) -> None:
    """C61: no line of a unit can be smuggled in by a name."""
    with pytest.raises(ValueError, match="cannot be written in a systemd unit"):
        unit.plain(value)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd's own check needs systemd")
@pytest.mark.parametrize("whose", [["-u", "root"], ["--user"]])
def test_systemd_finds_nothing_wrong_with_the_unit(place: Place, whose: list[str], tmp_path: Path) -> None:
    """C61: `systemd-analyze verify` is silent about it."""
    done = place.call("--dry-run", "-c", "my $config.yml", "-v", *whose)
    path = tmp_path / "miqro_echo.service"
    path.write_text(done.stdout, encoding="utf-8")
    assert _complaints(path, whose) == []
    path.write_text(done.stdout.replace("Restart=always", "Restart=perhaps"), encoding="utf-8")
    assert len(_complaints(path, whose)) == 1


def _complaints(path: Path, whose: list[str]) -> list[str]:
    """Return what systemd has to say about one unit; it also speaks of others that this machine may lack."""
    manager = "--user" if "--user" in whose else "--system"
    runtime = path.parent / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    checked = subprocess.run(
        ["systemd-analyze", manager, "verify", "--man=no", str(path)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [line for line in (checked.stdout + checked.stderr).splitlines() if "miqro" in line]
