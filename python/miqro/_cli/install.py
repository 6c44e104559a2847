"""Installing a service as a systemd unit, and taking it away again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .unit import unit_name, unit_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

SYSTEM_UNITS = Path("/etc/systemd/system")
DATA_ROOT = Path("/var/lib/miqro/data")


def apply(service_name: str, options: Namespace, *, keeps_state: bool) -> None:
    """Do what the command line asks for: `--install`, `--uninstall`, or show it with `--dry-run`.

    Args:
        service_name: Name of the service.
        options: The parsed command line.
        keeps_state: Whether the service uses a state file.

    Raises:
        SystemExit: It cannot be done; with a sentence that says why, and what to do.
    """
    path = (_user_units() if options.user else SYSTEM_UNITS) / unit_name(service_name)
    try:
        if options.uninstall:
            _uninstall(path, options)
        else:
            _install(service_name, path, options, keeps_state=keeps_state)
    except PermissionError as error:
        action = "--uninstall" if options.uninstall else "--install"
        raise SystemExit(
            f"Not allowed to change {error.filename or path}: the services of the system belong to root. Run "
            f"this again with sudo, or use {action} --user for a service of your own."
        ) from None
    except (OSError, ValueError) as error:
        raise SystemExit(f"Could not {'remove' if options.uninstall else 'write'} {path}: {error}") from None


def _absolute(path: str) -> str:
    # Not Path.resolve: a virtual environment is known by the link to its interpreter.
    return os.path.abspath(path)  # noqa: PTH100 - as said


def start_command(config: str | None, debug_prefix: str | None, *, verbose: bool) -> list[str]:
    """Return the command that starts this program as it was started, with the same options.

    Raises:
        SystemExit: It was not started from a file or a module; or the configuration file is not there.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if not sys.executable:
        raise SystemExit("Python does not say where it is, so no unit can be written that starts it.")
    command = [_absolute(sys.executable)]
    if spec is not None and spec.name != "__main__":
        command += ["-m", spec.name.removesuffix(".__main__")]
    elif spec is not None:
        command.append(_absolute(sys.argv[0]))  # a directory or an archive with a __main__.py
    elif (file := getattr(main, "__file__", None)) is not None:
        command.append(_absolute(file))
    else:
        raise SystemExit("Only a service that was started from a file, or with python -m, can be installed.")
    if config is not None:
        if not Path(config).exists():
            raise SystemExit(f"There is no configuration file {_absolute(config)}.")
        command += ["-c", _absolute(config)]
    if verbose:
        command.append("-v")
    if debug_prefix is not None:
        command += ["-d", debug_prefix]
    return command


def _install(service_name: str, path: Path, options: Namespace, *, keeps_state: bool) -> None:
    user = None if options.user else options.install_as_user or "root"
    environment = {"PYTHONUNBUFFERED": "1"}  # what a service prints is in the journal at once
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    command = start_command(options.config, options.mqtt_debug_prefix, verbose=options.verbose)
    text = unit_text(service_name, command, str(Path.cwd()), environment, user)
    if options.dry_run:
        print(f"# {path}\n{text}", end="")
        return
    if user is not None:
        _check_user(user)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    reloaded = _systemctl(options, "daemon-reload")
    shown, sudo, who = _shown(path), "" if options.user else "sudo ", " --user" if options.user else ""
    print(f"Installed {path}.")
    if not reloaded:
        print(f"Tell systemd about it:\n  {sudo}systemctl{who} daemon-reload")
    print(f"Start it, now and at every boot:\n  {sudo}systemctl{who} enable --now {shown}")
    print(f"See what it says:\n  {sudo}journalctl{who} -f -u {shown}")
    if options.user:
        print("Let it run while you are not logged in:\n  loginctl enable-linger")
        if keeps_state and not os.access(DATA_ROOT, os.W_OK):
            print(f"Let it keep its state:\n  sudo install -d -o $(id -un) {DATA_ROOT}")
    else:
        for name, other in _other_users(path, user or ""):
            print(
                f"Note: {name} runs as {other}, and this service as {user}. They share {DATA_ROOT}, which "
                "systemd gives to the one that was started last; services that keep state should run as one "
                "user."
            )


def _uninstall(path: Path, options: Namespace) -> None:
    if not path.exists():
        raise SystemExit(f"Nothing to remove: there is no {path}.")
    if options.dry_run:
        print(f"Would stop and disable {path.name} and remove {path}.")
        return
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    stopped = _systemctl(options, "disable", "--now", path.name)
    path.unlink()
    _systemctl(options, "daemon-reload")
    print(f"Removed {path}." + ("" if stopped else " If the service still runs, stop it by hand."))


def _systemctl(options: Namespace, *arguments: str) -> bool:
    """Run systemctl for the manager concerned; say what went wrong, and return whether nothing did."""
    import subprocess

    command = ["systemctl", *(["--user"] if options.user else []), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        print("systemctl was not found: is this a machine with systemd?", file=sys.stderr)
        return False
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command)} did not end within a minute.", file=sys.stderr)
        return False
    if done.returncode != 0:
        print(f"{' '.join(command)} failed: {done.stderr.strip() or done.returncode}", file=sys.stderr)
    return done.returncode == 0


def _check_user(user: str) -> None:
    import pwd

    try:
        pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        raise SystemExit(
            f"There is no user {user} on this machine; create it, or name another one with -u."
        ) from None


def _other_users(path: Path, user: str) -> list[tuple[str, str]]:
    """Return the other installed services that run as another user: unit names and users."""
    found = []
    for other in sorted(path.parent.glob("miqro_*.service")):
        if other == path or not other.is_file():
            continue
        lines = other.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.removeprefix("User=") for line in lines if line.startswith("User=")), "root")
        if name != user:
            found.append((other.name, name))
    return found


def _user_units() -> Path:
    """Return the directory of a user's own units."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "systemd" / "user"


def _shown(path: Path) -> str:
    """Return the name of a unit for a command to be typed."""
    import shlex

    return shlex.quote(path.name.removesuffix(".service"))
