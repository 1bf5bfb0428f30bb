"""Every importer there is: ours and those of installed packages (entry points). A broken one is named and left out."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, NamedTuple

import msgspec
import pluggy

from llmjoules.records.errors import LlmjoulesError, nearest
from llmjoules.records.importers import hookspecs
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.types import Importer, Options

GROUP = "llmjoules.importers"


class Fault(NamedTuple):
    """A plug-in that had to be left out, and why."""

    origin: str
    why: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.why}"


class Importers:
    """The importers by name, in the order of their names."""

    def __init__(self) -> None:
        self.by_name: dict[str, Importer] = {}
        self.faults: list[Fault] = []
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            try:
                module = point.load()
                manager.register(module)
                others = [plugin for plugin in manager.get_plugins() if plugin is not module]
                for found in manager.subset_hook_caller("llmjoules_importers", others)():
                    for importer in found:
                        self._enter(importer, point.name)
            except Exception as error:  # whatever a plug-in does, the others go on
                self.faults.append(Fault(point.name, f"{type(error).__name__}: {error}"))

    def _enter(self, importer: Any, origin: str) -> None:
        if not isinstance(importer, Importer) or not isinstance(getattr(importer, "name", None), str):
            self.faults.append(Fault(origin, f"{importer!r} is not an Importer with a name"))
        elif importer.name in self.by_name:
            self.faults.append(Fault(origin, f"there is another importer called {importer.name!r}"))
        else:
            self.by_name[importer.name] = importer

    def named(self, name: str) -> Importer:
        """Raises LlmjoulesError for an unknown name, naming the nearest known one."""
        if name in self.by_name:
            return self.by_name[name]
        why = nearest(name, list(self.by_name)) + "".join(f" Left out: {fault}." for fault in self.faults)
        raise LlmjoulesError(f"Unknown format: {name}.", why, "See what there is: llmjoules import --help")

    def guess(self, file: SourceFile) -> list[str]:
        """The formats that this file looks like."""
        special = (name for name, importer in self.by_name.items() if not importer.general)
        return [name for name in special if _matches(self.by_name[name], file)]


def _matches(importer: Importer, file: SourceFile) -> bool:
    try:
        return bool(importer.matches(file))
    except Exception:
        return False


def typed_options(importer: Importer, given: dict[str, str]) -> Options:
    """`--set NAME=VALUE` words as the importer's options. Raises LlmjoulesError for an unknown name or a bad value."""
    known = [field.encode_name for field in msgspec.structs.fields(importer.Options)]
    for key in given:
        if key not in known:
            raise LlmjoulesError(
                f"Unknown setting for {importer.name}: {key}.",
                nearest(key, known),
                "Settings are given as --set NAME=VALUE.",
            )
    try:
        return msgspec.convert(given, importer.Options, strict=False)
    except msgspec.ValidationError as error:
        raise LlmjoulesError(
            f"Bad setting for {importer.name}.", f"{error}.", "Settings are given as --set NAME=VALUE."
        ) from error
