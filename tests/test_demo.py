"""`make demo` shows what it promises, whatever broker it finds, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Observer
from harness.broker import free_port

if TYPE_CHECKING:
    from harness import Broker

DEMO = Path(__file__).resolve().parent.parent / "scripts" / "demo.py"


def run_demo(port: int) -> str:
    """Run it without a terminal; it must succeed. Return its output."""
    done = subprocess.run(
        [sys.executable, str(DEMO), "--port", str(port)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def assert_complete(shown: str) -> None:
    """Assert that a transcript has every act of the play, in order."""
    acts = (
        "mqtt  service/echo/online         1",
        "mqtt  service/echo/echo           hello, miqro",
        "mqtt  service/echo/echo_response  hello, miqro",
        "mqtt  service/echo/foo            bar",
        'mqtt  service/echo/foofoo         {"answer": 42.01, "config_demo": "from the miqro.yml of the demo"}',
        "Stopping the service",
        "mqtt  service/echo/online         0",
        "exit status was 0",
    )
    places = [shown.rfind(act) if "foo" in act else shown.find(act) for act in acts]
    assert -1 not in places, shown
    assert places == sorted(places), shown


def test_without_a_broker_it_starts_one_and_says_so() -> None:
    """No broker on the port: one of its own, on another port."""
    port = free_port()
    shown = run_demo(port)
    assert f"No broker answers on localhost:{port}" in shown
    assert "Started a mosquitto" in shown
    assert_complete(shown)
    assert shown.count("service/echo/foofoo ") >= 3, "its loop ticks"


def test_a_broker_that_answers_is_used_and_left_as_it_was(broker: Broker) -> None:
    """No retained message of the demo stays at somebody's broker."""
    shown = run_demo(broker.port)
    assert f"A broker answers on localhost:{broker.port}; the demo uses it." in shown
    assert_complete(shown)
    with Observer(broker.port) as observer:
        observer.barrier()
        assert not observer.on("service/echo/online")


def test_an_echo_service_that_is_online_already_is_left_alone(broker: Broker, observer: Observer) -> None:
    """A second client of one name would throw out the first."""
    observer.publish("service/echo/online", "1", retain=True)
    shown = run_demo(broker.port)
    assert "is online already" in shown
    assert "Started a mosquitto" in shown
    assert_complete(shown)
    observer.barrier()
    assert observer.payloads("service/echo/online") == ["1"]


def test_ctrl_c_at_a_terminal_ends_it_and_the_make_around_it_cleanly(tmp_path: Path) -> None:
    """With a terminal it runs until Ctrl-C, which make must not take for its own."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"demo:\n\t@{sys.executable} {DEMO} --port {free_port()}\n", encoding="utf-8")
    terminal, inside = pty.openpty()
    # In a session of its own, whose terminal this is: only then does the byte of Ctrl-C become a signal.
    take_over = "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('make', {!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", take_over.format(["make", "-f", str(makefile), "demo"])],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    shown = b""
    interrupted = False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:
            # The terminal's other end is closed: everything has ended.
            break
        shown += chunk
        if not interrupted and b"until you press Ctrl-C" in shown:
            os.write(terminal, b"\x03")
            interrupted = True
    status = process.wait(10.0)
    os.close(terminal)
    text = shown.decode().replace("\r\n", "\n")
    assert status == 0, text
    assert "***" not in text, "make has nothing to complain of"
    assert_complete(text)
