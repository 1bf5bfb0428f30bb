"""The hook that an importer plug-in implements."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from llmjoules.records.importers.types import Importer

PROJECT = "llmjoules"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def llmjoules_importers() -> Iterable[Importer]:  # type: ignore[empty-body]
    """At the first import, once. Return importer objects; making them must stay cheap."""
