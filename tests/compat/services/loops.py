"""Services about loops, as their owners wrote them for 1.x."""

import sys
import time
from datetime import datetime, timedelta

import miqro


class Stops(miqro.Service):
    """A loop that has had enough after three calls."""

    SERVICE_NAME = "l_stops"
    calls = 0
    go = False

    @miqro.handle("go")
    def start_counting(self, payload):
        self.go = True

    @miqro.loop(milliseconds=20)
    def count(self):
        if not self.go:
            return
        self.calls += 1
        self.publish("calls", self.calls)
        if self.calls == 3:
            self.publish("done", "1")
            return False


class Regular(miqro.Service):
    """Loops of several intervals, given in several ways."""

    SERVICE_NAME = "l_regular"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.times = {"positional": [], "seconds": [], "minutes": []}

    @miqro.loop(0, 0, 100000)
    def positional(self):
        self.times["positional"].append(time.monotonic())

    @miqro.loop(seconds=0.15)
    def seconds(self):
        self.times["seconds"].append(time.monotonic())

    @miqro.loop(minutes=1, hours=2)
    def minutes(self):
        self.times["minutes"].append(time.monotonic())

    @miqro.handle("report")
    def report(self, payload):
        for loop in self.LOOPS:
            print(loop.fn.__name__, loop.interval)

    @miqro.loop(milliseconds=50)
    def enough(self):
        if len(self.times["positional"]) >= 4 and len(self.times["seconds"]) >= 4 and self.is_connected:
            for name, times in self.times.items():
                gaps = [times[n + 1] - times[n] for n in range(len(times) - 1)]
                # None comes much too early; how late they may be is the machine's affair.
                self.publish(name, f"{len(gaps) >= 3} {all(gap > 0.05 for gap in gaps)}")
            self.publish("done", "1")
            return False


class Managed(miqro.Service):
    """Loop objects of a helper, started, stopped and re-timed from handlers."""

    SERVICE_NAME = "l_managed"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.poll = self.add_loop(miqro.Loop(self.do_poll, timedelta(hours=1), start=False))
        self.count = 0

    def do_poll(self, svc):
        assert svc is self
        self.count += 1
        self.publish("polled", self.count)

    @miqro.handle("start")
    def start_it(self, payload):
        self.publish("was_running", str(self.poll.next_call is not None))
        self.publish("remaining", str(self.poll.get_remaining()))
        self.poll.start()
        self.publish("started", str(self.poll.next_call <= datetime.now() + timedelta(seconds=1)))

    @miqro.handle("stop")
    def stop_it(self, payload):
        self.poll.stop()
        self.count = 0
        self.publish("stop_done", str(self.poll.next_call))

    @miqro.handle("slow")
    def slow_down(self, payload):
        self.poll.interval = timedelta(hours=1)
        self.poll.restart(delayed=True)
        hour = timedelta(hours=1)
        self.publish("slowed", str(hour - timedelta(minutes=1) < self.poll.get_remaining() <= hour))


class Busy(miqro.Service):
    """Polls a device all the time, with a short time-out, while commands arrive."""

    SERVICE_NAME = "l_busy"
    polls = 0
    asked = False

    @miqro.loop(seconds=0)
    def poll(self):
        time.sleep(0.005)
        self.polls += 1
        if self.asked and self.polls > 5:
            self.publish("polled", "often")
            return False

    @miqro.handle("command")
    def command(self, payload):
        self.publish("command_done", payload)

    @miqro.handle("report")
    def report(self, payload):
        self.asked = True


class Fails(miqro.Service):
    """A loop that raises once."""

    SERVICE_NAME = "l_fails"
    calls = 0
    go = False

    @miqro.handle("go")
    def start_failing(self, payload):
        self.go = True

    @miqro.loop(milliseconds=20)
    def work(self):
        if not self.go:
            return
        self.calls += 1
        if self.calls == 1:
            raise OSError("the sensor is gone")
        self.publish("recovered", "1")
        return False


class Stats(miqro.Service):
    """Asks a loop for its statistics."""

    SERVICE_NAME = "l_stats"

    @miqro.handle("go")
    def go(self, payload):
        calls = []
        loop = miqro.Loop(lambda svc: calls.append(svc), timedelta(0))
        for _ in range(3):
            self.publish("ran", str(loop.run_if_needed(self) is not None))
        count, duration, load, critical = loop.stat_get()
        self.publish("stats", f"{count} {duration < 1} {load:g} {critical} {len(calls)}")
        loop.stat_reset()
        self.publish("reset", str(loop.stat_get()))
        loop.stop()
        self.publish("stopped", str(loop.run_if_needed(self)))
        ending = miqro.Loop(lambda svc: False, timedelta(hours=1), start=True)
        self.publish("ending", f"{ending.run_if_needed(self)} {ending.next_call}")
        self.publish("name", str(self.LOOPS[0]))
        try:
            miqro.Loop(print, 5)
        except Exception as error:
            self.publish("refused", str(isinstance(error, Exception)))
        self.publish("done", "1")


class SlowLoop(miqro.Service):
    """A loop that takes longer than its interval; the heartbeat says so."""

    SERVICE_NAME = "l_slow"
    MQTT_ONLINE_UPDATE_INTERVAL = 1

    beats = 0

    @miqro.loop(milliseconds=1)
    def work(self):
        time.sleep(0.01)

    def _update_online_status(self, _):
        super()._update_online_status(_)
        self.beats += 1
        if self.beats == 2:
            self.publish("second_beat", "1")


class Added(miqro.Service):
    """Adds a loop when told to."""

    SERVICE_NAME = "l_added"

    @miqro.handle("add")
    def add(self, payload):
        self.add_loop(miqro.Loop(once, timedelta(hours=1)))
        self.publish("loops", len(self.LOOPS))


def once(service):
    service.publish("added_ran", "1")


class Punctual(miqro.Service):
    """Measures how long six calls of a loop of 300 ms take."""

    SERVICE_NAME = "l_punctual"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.times = []

    @miqro.loop(milliseconds=300)
    def tick(self):
        self.times.append(time.monotonic())
        if len(self.times) == 6:
            self.publish("in_time", str(self.times[-1] - self.times[0] < 1.85))
            return False


class Negative(miqro.Service):
    """A loop with a negative interval."""

    SERVICE_NAME = "l_negative"

    @miqro.handle("go")
    def go(self, payload):
        try:
            miqro.Loop(lambda svc: None, timedelta(seconds=-1), start=False)
            self.publish("made", "accepted")
        except ValueError as error:
            self.publish("made", type(error).__name__)


class OwnLoops(miqro.Service):
    """Overrides `_create_loops`."""

    SERVICE_NAME = "l_created"

    def _create_loops(self):
        super()._create_loops()
        self.add_loop(miqro.Loop(OwnLoops.tick, timedelta(milliseconds=50)))

    def tick(self):
        if not self.is_connected:
            return None
        self.publish("tick", "1", retain=True)
        return False


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]().run()
