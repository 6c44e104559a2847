"""Saves a state, again and again, each time stopped or failed at another of its system calls.

Usage: ``save_under_fire.py FOLDER SCENARIO kill|ERRNO``. The child that saves is traced with ptrace(2): no other
program, no preloaded library, and every call is met, whoever makes it. With ``kill`` it gets SIGKILL before the
call and, in another run, right after it; with the name of an error, such as ``ENOSPC``, the call is not made and
seems to have failed with it (x86-64 only).

Prints one line of JSON: the number of points, the calls by number in the order of one undisturbed run, and what
was wrong. Exit status 77: this system lets nobody trace.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

from miqro._state import State

TRACEME, SYSCALL, SETOPTIONS, POKEUSER, GET_SYSCALL_INFO = 0, 24, 0x4200, 6, 0x420E
TRACESYSGOOD, EXITKILL = 1, 0x100000
SYSCALL_STOP = signal.SIGTRAP | 0x80
# Offsets in `struct user` of x86-64.
ORIG_RAX, RAX = 15 * 8, 10 * 8

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long

# Of x86-64: the calls that touch files. Others, such as those that get memory, may end an interpreter.
FILE_CALLS = {
    0: "read", 1: "write", 2: "open", 3: "close", 4: "stat", 5: "fstat", 6: "lstat", 8: "lseek", 20: "writev",
    72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 79: "getcwd", 82: "rename",
    83: "mkdir", 87: "unlink", 89: "readlink", 90: "chmod", 91: "fchmod", 92: "chown", 93: "fchown",
    217: "getdents64", 257: "openat", 258: "mkdirat", 262: "newfstatat", 263: "unlinkat", 264: "renameat",
    267: "readlinkat", 316: "renameat2", 332: "statx",
}  # fmt: skip

OLD: dict[str, Any] = {"kind": "old", "list": list(range(50))}
NEW: dict[str, Any] = {"kind": "new", "list": list(range(5000))}


class Owner:
    """What a state needs of its service."""

    SERVICE_NAME = "echo"
    log = logging.getLogger("echo")

    def __init__(self) -> None:
        self.failures = 0

    def note_failure(self, text: str) -> None:
        """Count a failure."""
        self.failures += 1


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    """Make the call, or raise what it fails with."""
    result: int = libc.ptrace(request, pid, address, data)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def number_of_call(pid: int) -> int:
    """Return the number of the system call at whose entry a process stands."""
    buffer = ctypes.create_string_buffer(128)
    ptrace(GET_SYSCALL_INFO, pid, len(buffer), ctypes.addressof(buffer))
    number: int = struct.unpack_from("<Q", buffer, 24)[0]
    return number


def can_fail(calls: list[int]) -> bool:
    """Whether the last of some calls is one that fails when a disk does."""
    # To close a folder after reading it cannot fail; Rust's library panics if it does.
    closes_folder = FILE_CALLS.get(calls[-1]) == "close" and calls[-2:-1] == [217]
    return calls[-1] in FILE_CALLS and not closes_folder


class Scenario:
    """What is there before, and what the child does."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        State.DATA_ROOT = folder / "data"
        self.file = folder / "data" / "echo.yaml"

    def prepare(self) -> None:
        """Put everything back as it was."""
        data = self.folder / "data"
        if data.exists():
            for path in data.iterdir():
                path.unlink()
            data.rmdir()
        if self.name == "first":
            return
        data.mkdir()
        if self.name == "broken":
            self.file.write_text("kind: [old\n")
            (data / "echo.yaml.broken").write_text("kind: [older\n")
            return
        state = State(Owner())
        state._data = OLD
        state.save()
        self.file.chmod(0o640)
        if self.name == "link":
            self.file.symlink_to(self.file.rename(self.folder / "elsewhere.yaml"))

    def act(self) -> Any:
        """Return what is to be interrupted; all that comes before it happens here."""
        if self.name == "broken":

            def load() -> int:
                return State(Owner()).service.failures - 1  # type: ignore[attr-defined]

            return load
        owner = Owner()
        state = State(owner)
        state._data = NEW

        def save() -> int:
            state.save()
            return owner.failures

        return save

    def verdict(self, *, done: bool) -> str:
        """Return what is wrong now, or an empty text; `done`: it was said that all went well."""
        if self.name == "broken":
            contents = {path.read_text() for path in self.file.parent.glob("echo.yaml*")}
            return "" if {"kind: [old\n", "kind: [older\n"} <= contents else f"lost: only {contents} is left"
        try:
            content: bytes | None = self.file.read_bytes()
        except FileNotFoundError:
            content = None
        before = None if self.name == "first" else self.old
        if content not in (before, self.new):
            return f"neither old nor new: {content!r:.80}"
        if done and content != self.new:
            return "said to be saved, and is not"
        if self.name == "link" and not self.file.is_symlink():
            return "the link is gone"
        if before is not None and self.file.stat().st_mode & 0o777 != 0o640:
            return "the mode is gone"
        if content is not None and self.file.stat().st_mode & 0o077 & ~0o040:
            return "others may read it"
        # A service that is started again goes on.
        state = State(Owner())
        if dict(state) != (NEW if content == self.new else OLD if content else {}):
            return "is not what was saved"
        state._data = NEW
        state.save()
        if self.file.read_bytes() != self.new:
            return "cannot be saved any more"
        folder = self.file.resolve().parent
        if left := [path.name for path in folder.iterdir() if ".tmp-" in path.name]:
            return f"left behind: {left}"
        return ""

    old: bytes
    new: bytes


def trace(scenario: Scenario, nth: int, after: bool, fault: int) -> tuple[bool, list[int], int]:
    """Run the scenario with a mishap at its nth call (0: none).

    Returns:
        Whether the call was met, the numbers of all calls, and the exit status (-9: killed).
    """
    pid = os.fork()
    if pid == 0:
        act = scenario.act()
        if libc.ptrace(TRACEME, 0, 0, 0) < 0:
            os._exit(77)
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            failures = act()
        except BaseException:
            os._exit(4)
        os._exit(3 if failures else 0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        raise PermissionError("this system lets nobody trace")
    ptrace(SETOPTIONS, pid, 0, TRACESYSGOOD | EXITKILL)
    calls: list[int] = []
    entry, met, faulty = False, False, False
    deliver = 0
    while True:
        ptrace(SYSCALL, pid, 0, deliver)
        deliver = 0
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return met, calls, os.waitstatus_to_exitcode(status)
        if os.WSTOPSIG(status) != SYSCALL_STOP:
            deliver = os.WSTOPSIG(status)
            continue
        entry = not entry
        if entry:
            calls.append(number_of_call(pid))
        if len(calls) == nth and not met:
            if fault:
                if not can_fail(calls):
                    met = True
                    continue
                # A call that does not exist is made in its place.
                ptrace(POKEUSER, pid, ORIG_RAX, 2**64 - 1)
                met = faulty = True
            elif entry is not after:
                met = True
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return met, calls, -9
        elif faulty and not entry:
            ptrace(POKEUSER, pid, RAX, 2**64 - fault)
            faulty = False


def main(folder: str, name: str, mishap: str) -> int:
    """Run all points of a scenario; print what was found."""
    logging.disable()
    scenario = Scenario(name, Path(folder))
    fault = 0 if mishap == "kill" else int(getattr(errno, mishap))
    scenario.prepare()
    scenario.old = scenario.file.read_bytes() if scenario.file.exists() else b""
    try:
        _, undisturbed, _ = trace(scenario, 0, after=False, fault=0)
    except PermissionError:
        return 77
    scenario.new = scenario.file.read_bytes() if scenario.file.exists() else b""
    bad: list[str] = []
    points = failed = 0
    for after in (False,) if fault else (False, True):
        nth = 0
        met = True
        while met:
            nth += 1
            scenario.prepare()
            met, calls, status = trace(scenario, nth, after=after, fault=fault)
            if fault and met and not can_fail(calls[:nth]):
                continue
            points += met
            failed += status == 3
            problem = scenario.verdict(done=status == 0)
            if status not in ((0, 3) if fault or not met else (-9,)):
                problem = f"ended with {status}; {problem}"
            if problem:
                call = FILE_CALLS.get(calls[nth - 1], str(calls[nth - 1])) if met else "no call"
                bad.append(f"{'after' if after else 'at'} {call}, number {nth}: {problem}")
    names = [FILE_CALLS.get(call, str(call)) for call in undisturbed]
    print(json.dumps({"points": points, "failed": failed, "calls": names, "bad": bad}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
