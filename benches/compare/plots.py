"""Draws how cost grows: ``python plots.py GROWTH.JSON FOLDER``. Runs where matplotlib is, and needs nothing else."""

from __future__ import annotations

import json
import statistics
import sys
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter, StrMethodFormatter

COLOURS = {
    "miqro": "#1f6feb",
    "miqro 1.3.0": "#c2410c",
    "miqro, processes": "#1f6feb",
    "miqro, threads": "#0f9d58",
    "miqro, asyncio": "#8250df",
    "miqro 1.3.0, processes": "#c2410c",
}
MICROSECONDS = "CPU of the client, µs per message"
#: Of each picture: its name, and of each panel the series, its title, the labels of its axes, and whether they are
#: logarithmic.
PICTURES: dict[str, list[tuple[str, str, str, str, str]]] = {
    "growth-topics": [
        ("publish", "Publish QoS 0", "topics", MICROSECONDS, "log"),
        ("receive", "Receive QoS 0", "handlers", MICROSECONDS, "log"),
    ],
    "growth-payload": [
        ("publish-size", "Publish QoS 0", "payload, bytes", MICROSECONDS, "log"),
        ("receive-size", "Receive QoS 0", "payload, bytes", MICROSECONDS, "log"),
    ],
    "growth-services": [
        ("services-cpu", "Receive QoS 0", "services", MICROSECONDS, "linear"),
        ("services-memory", "Memory", "services", "proportional set size, MB per service", "linear"),
    ],
}


def steps_of(values: dict[str, Any], series: str) -> list[int]:
    return sorted({int(step) for found in values.get(series, {}).values() for step in found})


def draw(values: dict[str, Any], name: str, folder: Path) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), dpi=100, layout="constrained")
    for panel, (series, title, across, up, scale) in zip(panels, PICTURES[name], strict=True):
        for who, found in values.get(series, {}).items():
            steps = sorted(found, key=int)
            medians = [statistics.median(found[step]) for step in steps]
            below = [middle - min(found[step]) for middle, step in zip(medians, steps, strict=True)]
            above = [max(found[step]) - middle for middle, step in zip(medians, steps, strict=True)]
            panel.errorbar(
                list(map(int, steps)),
                medians,
                yerr=[below, above],
                label=who,
                color=COLOURS[who],
                marker="o",
                markersize=4,
                capsize=3,
            )
        panel.set(title=title, xlabel=across, ylabel=up, xscale=scale, yscale=scale)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
            axis.set_minor_formatter(NullFormatter())
        if scale == "linear":
            panel.set_ylim(bottom=0)
            panel.set_xticks(steps_of(values, series))
        else:
            low, high = panel.get_ylim()
            panel.set_ylim(10 ** floor(log10(low)), 10 ** ceil(log10(high)))
        panel.grid(visible=True, which="major", alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(folder / f"{name}.png")


def main() -> None:
    values = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["values"]
    for name in PICTURES:
        draw(values, name, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
