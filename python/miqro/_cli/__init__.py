"""`miqro.run`: the command line of a service."""

from __future__ import annotations

import logging
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence
    from typing import Any

    from miqro import Service, mqtt


def run(service: type[Service], arguments: Sequence[str] | None = None) -> None:
    """Run a service from the command line, or install it as a system service.

    The log level is INFO, unless the configuration file or `--verbose` says otherwise. Ends when the service
    does.

    Args:
        service: The class of the service.
        arguments: The arguments; by default those of the program. `--help` lists them.

    Raises:
        SystemExit: The arguments or the configuration are wrong, or installing failed; with a sentence that
            says why.
    """
    options = _parser(service).parse_args(arguments)
    if options.install or options.uninstall or options.dry_run:
        from . import install

        install.apply(service.SERVICE_NAME, options, keeps_state=service.USE_STATE_FILE)
        return

    from miqro import ConfigError, _config, _service, mqtt

    # Asked for by a person or by a unit, a service says what matters; made by hand, it says everything, as in
    # 1.x.
    _service.default_log_level = logging.INFO
    client_class = mqtt.Client
    if options.mqtt_debug_prefix is not None:
        client_class = debug_client_class(options.mqtt_debug_prefix, service.SERVICE_NAME)
    try:
        if options.config is not None:
            _config.require(options.config)
        made = service(options.config, logging.DEBUG if options.verbose else None, client_class)
    except ConfigError as error:
        raise SystemExit(f"{service.SERVICE_NAME}: {error}") from None
    made.run()


def debug_client_class(prefix: str, service_name: str) -> type[mqtt.Client]:
    """Make a client class for a debug run beside production.

    It puts a prefix before the topics of all that it publishes, the will included. Subscriptions stay as they
    are, so that the debug run sees real input. Its client id is its own, else the broker would throw
    production out.
    """
    from miqro import mqtt

    class DebugMQTTClient(mqtt.Client):
        def __init__(self, *_args: Any, **kwargs: Any) -> None:
            # Nobody comes back under this id: a session kept for it would fill up at the broker.
            super().__init__(f"{service_name}-debug-{os.getpid()}", **{**kwargs, "clean_session": True})

        def publish(self, topic: str, *args: Any, **kwargs: Any) -> Any:
            return super().publish(prefix + topic, *args, **kwargs)

        def will_set(self, topic: str, *args: Any, **kwargs: Any) -> Any:
            return super().will_set(prefix + topic, *args, **kwargs)

    return DebugMQTTClient


def _parser(service: type[Service]) -> ArgumentParser:
    """Describe the arguments."""
    from argparse import ArgumentParser

    parser = ArgumentParser(
        description=f"{service.SERVICE_NAME}: a miqro service.",
        epilog="Without --install or --uninstall the service runs until it is stopped.",
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="configuration file; default: miqro.yml here, then /etc/miqro.yml",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log everything")
    parser.add_argument(
        "-d",
        "--mqtt-debug-prefix",
        metavar="PREFIX",
        help="put this before every topic that is published, e.g. debug/; what is received stays real",
    )
    unit = parser.add_argument_group("as a system service")
    action = unit.add_mutually_exclusive_group()
    action.add_argument(
        "--install",
        action="store_true",
        help="write a systemd unit that starts the service as it is started now",
    )
    action.add_argument("--uninstall", action="store_true", help="stop the service and remove its unit")
    whose = unit.add_mutually_exclusive_group()
    whose.add_argument(
        "-u",
        "--install-as-user",
        metavar="USER",
        help="the user that the system service runs as; default: root",
    )
    whose.add_argument(
        "--user", action="store_true", help="install into your own service manager, which needs no root"
    )
    unit.add_argument("--dry-run", action="store_true", help="change nothing, print what would be done")
    return parser
