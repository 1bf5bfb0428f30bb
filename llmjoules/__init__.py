"""Measure the energy of language model inference phase by phase, and show the evidence.

`records` is what a run is, `meters` measure, `runner` decides the phases, `sitegen` draws. Names below are loaded on
first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmjoules.meters.monitor import Monitor as Monitor
    from llmjoules.meters.monitor import Window as Window
    from llmjoules.records.errors import LlmjoulesError as LlmjoulesError
    from llmjoules.records.frame import to_pandas as to_pandas
    from llmjoules.runner.api import measure as measure
    from llmjoules.sitegen.build import build_site as build_site

__version__ = "0.1.0"

_WHERE = {
    "LlmjoulesError": "llmjoules.records.errors",
    "Monitor": "llmjoules.meters.monitor",
    "Window": "llmjoules.meters.monitor",
    "build_site": "llmjoules.sitegen.build",
    "measure": "llmjoules.runner.api",
    "to_pandas": "llmjoules.records.frame",
}
__all__ = ["LlmjoulesError", "Monitor", "Window", "__version__", "build_site", "measure", "to_pandas"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
