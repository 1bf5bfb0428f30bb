"""Every meter there is: ours, those of installed packages (entry points), and files named with --plugin."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import pluggy

from llmjoules.meters import guard, hookspecs
from llmjoules.meters.types import Meter
from llmjoules.records.errors import LlmjoulesError, nearest

GROUP = "llmjoules.meters"


class Entry(NamedTuple):
    """A registered meter. origin: `llmjoules`, a distribution, or a file."""

    meter: type[Meter]
    origin: str


class Registry:
    """The meters by name, and the faults of plug-ins that had to be left out.

    Raises LlmjoulesError only for a --plugin file that does not exist: the user asked for that very file.
    """

    def __init__(self, plugins: Sequence[Path] = ()) -> None:
        self.entries: dict[str, Entry] = {}
        self.faults: list[guard.Fault] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for point in self._points():
            origin = point.dist.name if point.dist is not None else point.value
            self._add(f"{origin} ({point.name})" if origin != "llmjoules" else origin, point.load)
        for path in plugins:
            if not path.is_file():
                raise LlmjoulesError(
                    f"No plug-in at {path}.", "There is no such file.", "Name a Python file: --plugin FILE.py"
                )
            self._add(str(path), partial(_load_file, path))

    def _points(self) -> Iterable[EntryPoint]:
        try:
            return entry_points(group=GROUP)
        except Exception as error:  # one package with broken metadata hides those of all the others
            self.faults.append(guard.Fault("entry points of installed packages", guard.describe(error)))
            return [point for found in distributions() for point in _readable(found) if point.group == GROUP]

    def _add(self, origin: str, load: Callable[[], Any]) -> None:
        try:
            module = guard.call(origin, "importing it", load)
            guard.call(origin, "registering it", lambda: self._register(module))
            classes = guard.call(origin, "llmjoules_meters", lambda: self._meters_of(module))
            if classes is None:
                raise guard.PluginFault(
                    origin, "it has no hook llmjoules_meters, marked @hookimpl, that returns meters"
                )
            for meter in classes:
                self._enter(meter, origin)
        except guard.PluginFault as error:
            self.faults.append(error.fault)

    def _register(self, module: ModuleType) -> None:
        self._manager.register(module)
        try:
            self._manager.check_pending()  # a misspelt hook would never be called, silently
        except pluggy.PluginValidationError:
            self._manager.unregister(module)
            raise

    def _meters_of(self, module: ModuleType) -> list[type[Meter]] | None:
        """None where nothing answered: no hook, or one that returned None."""
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        answers = self._manager.subset_hook_caller("llmjoules_meters", others)()
        return [meter for answer in answers for meter in answer] if answers else None

    def _enter(self, meter: Any, origin: str) -> None:
        is_meter = isinstance(meter, type) and issubclass(meter, Meter)
        if not is_meter or not isinstance(getattr(meter, "name", None), str):
            what = meter.__name__ if isinstance(meter, type) else f"an object of type {type(meter).__name__}"
            self.faults.append(guard.Fault(origin, f"{what} is not a Meter class with a name"))
        elif not (isinstance(meter.Options, type) and issubclass(meter.Options, msgspec.Struct)):
            self.faults.append(
                guard.Fault(origin, f"Options of its meter {meter.name!r} is not a msgspec.Struct class")
            )
        elif meter.name in self.entries:
            owner = self.entries[meter.name].origin
            self.faults.append(
                guard.Fault(origin, f"its meter {meter.name!r} is left out: {owner} has one of that name")
            )
        else:
            self.entries[meter.name] = Entry(meter, origin)

    def make(self, name: str, options: Mapping[str, Any] | None = None) -> Meter:
        """A meter by its name. Raises LlmjoulesError for an unknown name or option, naming the nearest known one."""
        entry = self.entries.get(name)
        if entry is None:
            left_out = "".join(f" Left out: {fault}." for fault in self.faults)
            why = nearest(name, self.entries) + left_out
            raise LlmjoulesError(f"Unknown meter: {name}.", why, "See what there is: llmjoules meters")
        typed = _typed_options(entry.meter, options or {})
        return guard.call(name, "creating it", lambda: entry.meter(typed))


def _typed_options(meter: type[Meter], options: Mapping[str, Any]) -> msgspec.Struct:
    known = [field.encode_name for field in msgspec.structs.fields(meter.Options)]
    for key in options:
        if key not in known:
            raise _bad_option(meter, f"Unknown option: {meter.name}.{key}.", nearest(key, known))
    try:
        return msgspec.convert(dict(options), meter.Options)
    except msgspec.ValidationError as error:
        raise _bad_option(meter, f"Bad option for meter {meter.name}.", f"{error}.") from error


def _bad_option(meter: type[Meter], what: str, why: str) -> LlmjoulesError:
    return LlmjoulesError(what, why, f"Options are given as --meter-option {meter.name}.KEY=VALUE (docs/meters.md).")


def _readable(found: Distribution) -> Iterable[EntryPoint]:
    try:
        return found.entry_points
    except Exception:
        return ()


def _load_file(path: Path) -> ModuleType:
    name = f"llmjoules_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and msgspec look their module up
    spec.loader.exec_module(module)
    return module
