"""Plug-in files for tests: a good counter that says what to do otherwise."""

from __future__ import annotations

from pathlib import Path

HEAD = """
import sys, time
from llmjoules.meters import Channel, IntervalRecord, Meter, Unavailable, hookimpl
"""
HOOK = """
@hookimpl
def llmjoules_meters():
    return [Plug]
"""


def meter_source(name: str, channel: str = "wall", **methods: str) -> str:
    """A plug-in whose meter counts 100 W; a method is replaced by the body that is given for it."""
    bodies = {
        "probe": f'return [Channel(id="{channel}", component="{channel.split(":")[0]}", kind="counter")]',
        "open": "pass",
        "read": f'return {{"{channel}": 100.0 * time.monotonic()}}',
        "close": "pass",
        **methods,
    }
    lines = ["class Plug(Meter):", f'    name = "{name}"', '    summary = "A plug-in for tests"']
    for method, body in bodies.items():
        lines.append(f"    def {method}(self):")
        lines += [f"        {line}" for line in body.splitlines()]
    return HEAD + "\n".join(lines) + "\n" + HOOK


def plugin(folder: Path, name: str, source: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(source)
    return path
