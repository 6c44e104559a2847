"""`python -m miqro check`: what is wrong with a configuration file, or what would be used."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Sequence
    from typing import Any

    from miqro._config import Config

#: Settings of the sections that are never shown, wherever they come from.
_SECRETS = ("password", "keyfile_password")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of `python -m miqro`.

    Args:
        arguments: The arguments; by default those of the program.

    Returns:
        The exit status: 1 if there is something wrong.
    """
    options = _parser().parse_args(arguments)
    if options.command == "schema":
        return schema()
    return check(options.file)


def check(file: str | None) -> int:
    """Print what is wrong with a configuration file, or what would be used; secrets are hidden.

    Args:
        file: The file; by default the first that a service would find.

    Returns:
        1 if there is something wrong, else 0.
    """
    from miqro import ConfigError, Service
    from miqro._config import find_and_read
    from miqro._native import try_tls

    problems: list[str] = []
    try:
        config = find_and_read(file, Service.CONFIG_FILE_PATHS, must_exist=True, problems=problems)
    except ConfigError as error:
        print(error)
        return 1
    if config.tls is not None:
        try:
            try_tls(config.config["tls"])
        except ConfigError as error:
            if (problem := config.located("tls", error)) not in problems:
                problems.append(problem)
    for name in config.config["services"] if isinstance(config.config["services"], dict) else ():
        if not isinstance(name, str):
            continue
        try:
            config.service_section(name)
            config.data_topic_prefix(name)
        except ConfigError as error:
            problems.append(str(error))
    for warning in config.warnings:
        print(f"{warning} (warning)")
    for problem in problems:
        print(problem)
    if problems:
        print(f"{config.path}: {len(problems)} thing{'s' if len(problems) > 1 else ''} to correct")
        return 1
    remarks = f", with {len(config.warnings)} warning(s)" if config.warnings else ""
    print(f"{config.path}: this can be used{remarks}\n")
    for line in _used(config):
        print(line)
    return 0


def schema() -> int:
    """Print the JSON Schema of the configuration file, for editors."""
    print(schema_text(), end="")
    return 0


def schema_text() -> str:
    """Return the JSON Schema of the configuration file, as it is in the documentation."""
    import json

    from miqro._native import config_schema

    return json.dumps(config_schema(), indent=2) + "\n"


def _used(config: Config) -> Iterator[str]:
    """Give the lines that say what would be used."""
    for name, section in (("broker", config.broker), ("auth", config.auth), ("tls", config.tls)):
        given = config.config.get(name)
        if section is None:
            yield f"{name}: none" + ("" if name == "auth" else ", the connection is not encrypted")
            continue
        yield f"{name}:"
        for key, value in section.items():
            yield f"  {key}: {_shown(key, value, given if isinstance(given, dict) else {})}"
    yield f"log_level: {config.log_level if config.log_level is not None else 'that of the service'}"
    prefix = config.config.get("ha_discovery_prefix")
    yield f"ha_discovery_prefix: {_shown('', config.ha_discovery_prefix, {'': prefix})}"
    yield "services:" if config.config["services"] else "services: none"
    for name in config.config["services"]:
        prefix = config.data_topic_prefix(name) if isinstance(name, str) else ""
        topic = (config.config["services"][name] or {}).get("data_topic")
        yield f"  {name}: topics begin with {_shown('', prefix, {'': topic})}"


def _shown(key: str, value: Any, given: dict[Any, Any]) -> str:
    """Return a setting as it may be shown, and where it comes from."""
    from miqro._secret import Hidden

    source = given.get(key)
    origin = source.origin if isinstance(source, Hidden) and source.origin.startswith("!") else ""
    if value is None:
        return "(not set)"
    if key in _SECRETS or origin.startswith("!secret"):
        return f"(hidden, from {origin})" if origin else "(hidden)"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{text} (from {origin})" if origin else text + (" (default)" if source is None else "")


def _parser() -> ArgumentParser:
    """Describe the arguments."""
    from argparse import ArgumentParser

    parser = ArgumentParser(
        prog="python -m miqro", description="Tools for the configuration file of services."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    checker = commands.add_parser(
        "check",
        help="say what is wrong with a configuration file, or what would be used",
        description="Says what is wrong with a configuration file, all of it, or what would be used. "
        "Secrets are hidden. The exit status is 1 if something is wrong.",
    )
    checker.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="the file; default: miqro.yml here, then /etc/miqro.yml",
    )
    commands.add_parser("schema", help="print the JSON Schema of the configuration file, for editors")
    return parser
