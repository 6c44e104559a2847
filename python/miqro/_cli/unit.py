"""The systemd unit of a service: its name and its text."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Sandboxing that costs a service nothing it may need. Left out on purpose: ProtectHome and a strict
# ProtectSystem (scripts and their files live in /home), PrivateDevices and ProtectClock (serial ports),
# ProtectKernelTunables (GPIO and backlight are files in /sys), MemoryDenyWriteExecute (ctypes callbacks).
_SYSTEM_SANDBOX = """\
ProtectSystem=full
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
PrivateTmp=yes
"""
# Seconds without a sign of life after which systemd restarts a service; also what it has for its start. More than
# slow devices and downloads take.
PATIENCE_SECONDS = 300
# These need no namespaces, which a user's own manager often may not make.
_SANDBOX = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""


def unit_name(service_name: str) -> str:
    r"""Return the name of a service's unit: `miqro_<name>.service`.

    Characters that unit names may not have are written as `systemd-escape` does: `/` as `-`, others as
    `\x..`. A dash stays a dash, as in 1.x.
    """

    def escape(match: re.Match[str]) -> str:
        return "".join(rf"\x{byte:02x}" for byte in match[0].encode("utf-8", errors="surrogateescape"))

    escaped = re.sub(r"[^A-Za-z0-9:_.-]", escape, service_name.replace("/", "-"))
    return f"miqro_{escaped}.service"


def unit_text(
    service_name: str,
    command: Sequence[str],
    working_directory: str,
    environment: Mapping[str, str],
    user: str | None,
) -> str:
    """Return the text of a unit.

    Args:
        service_name: Name of the service.
        command: Absolute path of the interpreter, and its arguments.
        working_directory: Where the service runs, an absolute path.
        environment: Variables to set.
        user: The user that it runs as; `None`: a unit for a user's own service manager.

    Raises:
        ValueError: Something cannot be written in a unit.
    """
    network = "Wants=network-online.target\nAfter=network-online.target\n" if user is not None else ""
    variables = "".join(
        f"Environment={quote(f'{name}={value}', dollar=False)}\n" for name, value in environment.items()
    )
    # All services of a machine share this directory: State.DATA_ROOT.
    account = f"User={plain(user)}\nStateDirectory=miqro/data\n" if user is not None else ""
    executable, *arguments = command
    exec_start = " ".join([quote(executable, dollar=False), *map(quote, arguments)])
    return f"""\
[Unit]
Description={plain(service_name)} MIQRO microservice
{network}StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={exec_start}
WorkingDirectory={plain(working_directory)}
{variables}{account}Restart=always
RestartSec=10
WatchdogSec={PATIENCE_SECONDS}
TimeoutStartSec={PATIENCE_SECONDS}
TimeoutStopSec=10
{_SYSTEM_SANDBOX if user is not None else ""}{_SANDBOX}
[Install]
WantedBy={"multi-user.target" if user is not None else "default.target"}
"""


def quote(word: str, *, dollar: bool = True) -> str:
    """Return one word of a command line or an assignment as systemd reads it back.

    Args:
        word: The word.
        dollar: Whether `$` introduces a variable here, as it does in all words of a command but the first.
    """
    written = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if dollar:
        written = written.replace("$", "$$")
    written = re.sub(r"[\x00-\x1f\x7f]", lambda match: rf"\x{ord(match[0]):02x}", written)
    # A bare word keeps its meaning only if nothing in it is special to systemd.
    return written if re.fullmatch(r"[\w./:=@%+,$-]+", written) else f'"{written}"'


def plain(value: str) -> str:
    """Return a value that systemd takes as it stands to the end of the line, spaces and quotes included.

    Raises:
        ValueError: It has characters that such a value cannot have.
    """
    if re.search(r"[\x00-\x1f\x7f]", value) or value != value.strip() or value.endswith("\\"):
        raise ValueError(f"{value!r} cannot be written in a systemd unit: rename it without such characters")
    return value.replace("%", "%%")
