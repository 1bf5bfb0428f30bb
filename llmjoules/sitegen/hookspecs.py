"""The hook that a page plug-in can implement."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from llmjoules.sitegen.extra import ExtraPage, Results

PROJECT = "llmjoules"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def llmjoules_site_pages(results: Results) -> Iterable[ExtraPage]:  # type: ignore[empty-body]
    """Once per build of a site. Return pages to add to it; none where the results hold nothing for them."""
