"""The hooks that a meter plug-in can implement."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from llmjoules.meters.types import Meter

PROJECT = "llmjoules"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def llmjoules_meters() -> Iterable[type[Meter]]:  # type: ignore[empty-body]
    """At start-up, once. Return meter classes; importing them must stay cheap."""
