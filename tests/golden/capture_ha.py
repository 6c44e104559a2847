"""Capture what miqro 1.3.0 does with Home Assistant devices and entities, into `golden/ha/*.json`.

Run it with an interpreter that has the original package:

    python -m venv /tmp/original && /tmp/original/bin/pip install miqro==1.3.0 paho-mqtt==1.6.1
    /tmp/original/bin/python tests/golden/capture_ha.py
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import ha_device_scenarios  # noqa: E402, F401 - registers its scenarios
from ha_scenarios import PLATFORMS  # noqa: E402 - found by the line above
from ha_stage import SCENARIOS, run_scenario, signatures  # noqa: E402
from miqro import ha_sensors  # noqa: E402


def main() -> None:
    """Write one file per group of scenarios, and one with the fields of all classes."""
    version = importlib.metadata.version("miqro")
    if version != "1.3.0":
        raise SystemExit(f"This captures the original, miqro 1.3.0; this interpreter has {version}.")
    groups: dict[str, dict[str, object]] = {"fields": dict(signatures(ha_sensors, PLATFORMS))}
    for name in SCENARIOS:
        groups.setdefault(name.split("/")[0], {})[name] = run_scenario(ha_sensors, name)
    for group, results in groups.items():
        text = json.dumps(results, indent=1, ensure_ascii=False)
        (HERE / "ha" / f"{group}.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(SCENARIOS)} scenarios in {len(groups)} files")


if __name__ == "__main__":
    main()
