"""What happens to a session at fork(), at the exit of the interpreter, and over many lives (design section 4)."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from harness import Observer, Script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Broker

#: A service that forks in a handler; the child says what becomes of what it tries.
FORKING = """
import os, signal, sys
import miqro

class Forking(miqro.Service):
    SERVICE_NAME = "forking"

    @miqro.handle("echo")
    def on_echo(self, payload):
        self.publish("echo_response", payload, qos=1)

    @miqro.handle("fork")
    def on_fork(self, payload):
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            self.publish("child", str(os.waitstatus_to_exitcode(status)), qos=1)
            return
        try:
            if payload == "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
            if payload == "exit":
                sys.exit(3)
            for use in (
                lambda: self.publish("from_child", "1"),
                lambda: self.publish("from_child", "1", qos=1),
                lambda: self.mqtt_client.subscribe("a/b"),
                lambda: self.add_handler("more", print),
                lambda: self.run(),
            ):
                try:
                    use()
                except miqro.ForkError as error:
                    print("refused:", error, flush=True)
            print("healthy:", self.healthy(), flush=True)
        except BaseException as error:
            if isinstance(error, SystemExit):
                raise
            print("other:", repr(error), flush=True)
        self.mqtt_client.loop_stop()
        os._exit(0)

Forking().run()
"""


def test_a_child_cannot_use_the_session_of_its_parent_and_does_not_disturb_it(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """Each use in the child is an error in words; the parent goes on, and its `online` stays `1`."""
    write_config(broker.port)
    with Script(tmp_path, FORKING) as script:
        observer.wait_for("service/forking/online", "1")
        observer.publish("service/forking/fork", "use")
        observer.wait_for("service/forking/child", "0")
        assert script.wait_out("^healthy") == "healthy: False"
        assert [line for line in script.out.all() if line.startswith("other")] == []
        refused = [line for line in script.out.all() if line.startswith("refused")]
        assert len(refused) == 5
        assert all("before a fork()" in line and "call run() only after the fork" in line for line in refused)
        observer.publish("service/forking/echo", "alive")
        observer.wait_for("service/forking/echo_response", "alive")
        assert observer.payloads("service/forking/online") == ["1"]
        assert observer.payloads("service/forking/from_child") == []
        script.terminate()
        script.wait().check(0)


def test_a_child_that_exits_leaves_the_service_to_its_parent(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """`sys.exit()` in a child runs through `run()`: it says no farewell, and keeps its status."""
    write_config(broker.port)
    with Script(tmp_path, FORKING) as script:
        observer.wait_for("service/forking/online", "1")
        observer.publish("service/forking/fork", "exit")
        observer.wait_for("service/forking/child", "3")
        observer.publish("service/forking/echo", "alive")
        observer.wait_for("service/forking/echo_response", "alive")
        assert observer.payloads("service/forking/online") == ["1"]
        script.terminate()
        script.wait().check(0)


def test_sigterm_ends_a_child_of_a_service_at_once(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """The handler that stops the service is not the child's: `multiprocessing.Process.terminate()` works."""
    write_config(broker.port)
    with Script(tmp_path, FORKING) as script:
        observer.wait_for("service/forking/online", "1")
        observer.publish("service/forking/fork", "terminate")
        observer.wait_for("service/forking/child", str(-signal.SIGTERM))
        script.terminate()
        script.wait().check(0)


def test_fork_and_then_run_works_in_parent_and_child(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A service that is made before the fork runs after it, on both sides, and neither wakes the other."""
    write_config(broker.port)
    source = """
        import os
        import miqro

        class One(miqro.Service):
            SERVICE_NAME = "one"

            @miqro.handle("echo")
            def on_echo(self, payload):
                self.publish("echo_response", payload, qos=1)

            @miqro.handle("stop")
            def on_stop(self, payload):
                self.stop = True

        class Two(One):
            SERVICE_NAME = "two"

        one, two = One(), Two()
        one.publish("early", "one", qos=1)
        child = os.fork()
        if not child:
            two.run()
            os._exit(0)
        one.run()
        print("child:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    with Script(tmp_path, source) as script:
        for name in ("one", "two"):
            observer.wait_for(f"service/{name}/online", "1")
        for number in range(20):
            for name in ("one", "two"):
                observer.publish(f"service/{name}/echo", str(number))
        for name in ("one", "two"):
            observer.wait_count(f"service/{name}/echo_response", 20)
            observer.publish(f"service/{name}/stop")
            observer.wait_for(f"service/{name}/online", "0")
        script.wait().check(0)
        assert script.out.all() == ["child: 0"]
        assert observer.payloads("service/one/early") == ["one"]


def test_a_service_on_a_daemon_thread_says_goodbye_at_the_exit(
    broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """The main program ends; the service's farewell is still said, and what it has published is sent."""
    write_config(broker.port)
    source = """
        import threading, sys
        import miqro

        online = threading.Event()

        class Daemon(miqro.Service):
            SERVICE_NAME = "daemon"

            def _on_connect(self, *args):
                super()._on_connect(*args)
                online.set()

        service = Daemon()
        threading.Thread(target=service.run, daemon=True).start()
        assert online.wait(20)
        service.publish("last", "words", qos=1)
        sys.exit(7)
    """
    with Script(tmp_path, source) as script:
        script.wait().check(7)
    observer.wait_for("service/daemon/last", "words")
    observer.wait_for("service/daemon/online", "0")
    assert "has been disconnected" not in broker.log  # nothing but a clean DISCONNECT


def test_a_client_alone_sends_what_it_has_accepted_before_the_interpreter_exits(
    broker: Broker, observer: Observer, tmp_path: Path
) -> None:
    """`loop_start()`, `publish()`, end of the script: paho loses such messages."""
    source = """
        import sys
        from miqro import mqtt

        client = mqtt.Client("script")
        client.connect_async("127.0.0.1", int(sys.argv[1]))
        client.loop_start()
        for number in range(100):
            client.publish("script/number", str(number), qos=1)
    """
    with Script(tmp_path, source, str(broker.port)) as script:
        script.wait().check(0)
    observer.wait_count("script/number", 100)
    assert observer.payloads("script/number") == [str(number) for number in range(100)]


def test_ten_services_started_and_stopped_a_hundred_times_leave_nothing_behind(
    broker: Broker, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """No thread, no descriptor, and no memory that grows."""
    write_config(broker.port)
    source = """
        import gc, json, os, threading, time
        import miqro

        class Short(miqro.Service):
            SERVICE_NAME = "short"

            def __init__(self, number):
                self.SERVICE_NAME = f"short{number}"
                super().__init__(log_level="ERROR")

            def _on_connect(self, *args):
                super()._on_connect(*args)
                self.publish("hello", "x" * 1000, qos=1)
                self.stop = True

        def life():
            threads = [threading.Thread(target=Short(number).run) for number in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            gc.collect()
            # The thread of a name look-up lives some milliseconds longer than its session.
            deadline = time.monotonic() + 20
            while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
                time.sleep(0.001)

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        seen = []
        for cycle in range(100):
            life()
            if cycle in (49, 99):
                seen.append([len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident()])
        print(json.dumps(seen))
    """
    with Script(tmp_path, source) as script:
        result = script.wait(timeout=120)
    result.check(0)
    [line] = script.out.all()
    (fds, threads, memory), (fds_later, threads_later, memory_later) = json.loads(line)
    assert (fds_later, threads_later) == (fds, threads)
    # 500 more services: a leak of 1 kB in each would be seen.
    assert memory_later - memory < 512 * 1024, f"{memory_later - memory} bytes more after 500 services"
