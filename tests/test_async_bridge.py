"""The example `async_bridge`, with an HTTP server of the test's own and a real broker (C20, C70, C72)."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Broker, Observer

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "async_bridge.py"
PREFIX = "service/async_bridge"
DEADLINE = 30.0


class Api:
    """Three sensors, of which one does not answer before it is told to, and one answers with nonsense."""

    def __init__(self) -> None:
        self.released = threading.Event()
        values: dict[str, object] = {"kitchen": {"temperature": 21.5}, "cellar": {"temperature": 12.0}}
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[1]
                if name == "cellar":
                    api.released.wait(DEADLINE)
                self.answer(b"nonsense" if name == "attic" else json.dumps(values[name]).encode())

            def do_PUT(self) -> None:
                name = self.path.rsplit("/", 1)[1]
                values[name] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(json.dumps({"set": values[name]}).encode())

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End it."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(DEADLINE)


@pytest.fixture
def api() -> Iterator[Api]:
    """A server that runs."""
    made = Api()
    yield made
    made.close()


def test_the_bridge_asks_concurrently_and_hands_commands_on(
    api: Api, broker: Broker, observer: Observer, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A sensor that does not answer holds up neither another one nor a command; nonsense is a warning."""
    write_config(
        broker.port,
        f"services:\n  async_bridge:\n    url: {api.url}/\n    sensors: [cellar, kitchen, attic]\n",
    )
    with Script(tmp_path, EXAMPLE, options=("-X", "dev"), env={"PYTHONASYNCIODEBUG": "1"}) as script:
        # It is asked for after the one that does not answer.
        kitchen = observer.wait_for(f"{PREFIX}/sensor/kitchen")
        assert json.loads(kitchen.text) == {"temperature": 21.5}
        observer.publish(f"{PREFIX}/set/kitchen", '{"temperature": 19}')
        result = observer.wait_for(f"{PREFIX}/set_result/kitchen")
        assert json.loads(result.text) == {"set": {"temperature": 19}}
        script.wait_err("attic does not answer: the answer is not JSON")
        assert not observer.on(f"{PREFIX}/sensor/cellar"), "it has not been let answer"
        api.released.set()
        cellar = observer.wait_for(f"{PREFIX}/sensor/cellar")
        assert json.loads(cellar.text) == {"temperature": 12.0}
        script.terminate()
        observer.wait_for(f"{PREFIX}/online", "0")
        result = script.wait()
    assert result.returncode == 0, result.err
    for complaint in ("was destroyed", "ResourceWarning", "never awaited", "never retrieved"):
        assert complaint not in result.err, result.err
