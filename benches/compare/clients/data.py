"""A configuration and a state, as people have them, only larger."""

from __future__ import annotations

from typing import Any


def configuration() -> str:
    """Return a configuration of 305 lines with 20 services, with every kind of notation."""
    lines = [
        "broker:",
        "  host: broker.example.com",
        "  port: 8883",
        "auth: {username: u, password: 'p'}",
        "services:",
    ]
    for number in range(20):
        lines += [
            f"  service_{number}:  # of the {number}th room",
            f"    data_topic: home/room{number}/",
            "    interval: 30.5",
            "    enabled: yes",
            "    limits:",
            "      low: -5",
            "      high: 40",
            "    sensors:",
            "      - {name: 'temperature', unit: °C, offset: -0.5}",
            "      - name: humidity",
            '        unit: "%"',
            "        topics: [a/b, c/d]",
            "    at: 07:30",
            "    since: 2024-02-29",
        ]
    lines += [f"own_{number}: {number}" for number in range(305 - len(lines))]
    return "\n".join(lines) + "\n"


def state() -> dict[str, Any]:
    """Return 1,000 keys, nested."""
    counts = {f"count{number}": number for number in range(19)}
    return {"counts": counts} | {
        f"room{room}": {
            f"device{device}": {
                "on": device % 2 == 0,
                "level": device * 0.75,
                "name": f"lamp {room} {device}",
                "seen": 1_700_000_000 + device,
                "history": [1, 2.5, "x"],
            }
            for device in range(8)
        }
        for room in range(20)
    }
