"""Runs by what they are repeats of, and a way to name some of them: `results#dtype=bfloat16,threads=2`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from msgspec import UNSET, Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Failed, Published, Record, Run
from llmjoules.records.store import BadLine, read_results

Repeat: TypeAlias = Run | Published

# What a cell may be chosen by, and what may differ between two; in the order in which a reader wants to know it.
SETTINGS: dict[str, Callable[[Repeat], object]] = {
    "model": lambda run: run.model.name,
    "weights": lambda run: run.model.weights,
    "dtype": lambda run: run.model.dtype,
    "materialized": lambda run: run.model.materialized or None,
    "batch": lambda run: run.workload.batch_size,
    "prompt": lambda run: run.workload.prompt_tokens,
    "new-tokens": lambda run: run.workload.new_tokens,
    "decoding": lambda run: run.workload.decoding,
    "stop": lambda run: run.workload.stop,
    "text": lambda run: (run.workload.prompt_sha256 or "")[:12] or None,
    "system": lambda run: run.system.name,
    "device": lambda run: run.system.device,
    "devices": lambda run: run.system.devices_used,
    "strategy": lambda run: run.system.strategy,
    "threads": lambda run: run.system.threads,
    "meters": lambda run: "+".join(meter.name for meter in run.meters) or None,
}
NAMES: dict[str, Callable[[Repeat], object]] = {
    "cell": lambda run: run.cell,
    "class": lambda run: run.class_,
    "study": lambda run: run.study,
}  # hashes and labels: they choose, but say nothing about what differs


class Cell(Struct, frozen=True):
    """Repeats of one setting. settings: by the names in SETTINGS, None where the records do not say."""

    settings: dict[str, str | None]
    name: str | None
    runs: tuple[Repeat, ...]

    def title(self, keys: Iterable[str] = ()) -> str:
        """The model's name and the values of some settings."""
        words = [f"{key} {self.settings[key]}" for key in keys if key != "model" and self.settings[key] is not None]
        return ", ".join([self.settings["model"] or "?", *words])


class Selection(Struct, frozen=True):
    """One side of a comparison: a file or folder, and which of its cells."""

    path: Path
    wanted: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Selection:
        """`PATH`, `PATH#MODEL` or `PATH#KEY=VALUE,…`. Raises LlmjoulesError for a key that there is not."""
        if Path(text).exists() or "#" not in text:
            return cls(Path(text), {})
        path, _, rest = text.rpartition("#")
        wanted: dict[str, str] = {}
        for word in filter(None, rest.split(",")):
            key, equals, value = word.partition("=")
            if not equals:
                key, value = "model", word
            if key not in SETTINGS and key not in NAMES:
                fix = _nearest(key, [*SETTINGS, *NAMES])
                raise LlmjoulesError(f"Cells cannot be chosen by {key!r}.", "Records have no such setting.", fix)
            wanted[key] = value
        return cls(Path(path), wanted)

    def cells(self, on_bad: Callable[[BadLine], None]) -> list[Cell]:
        """Its cells, at least one. Raises LlmjoulesError where none is left, naming what there is to choose from."""
        every = []
        for stored in read_results([self.path], on_bad):
            if isinstance(stored.record, Run | Failed):
                stored.record.trace = UNSET  # most of a record's size, and nothing here looks at it
            every.append(stored.record)
        runs = [record for record in every if isinstance(record, Run | Published)]
        if not runs:
            why = "Every run in it failed." if every else "It holds no record that can be read."
            raise LlmjoulesError(f"No figures in {self.path}.", why, "Measure something: llmjoules measure")
        for key, value in self.wanted.items():
            left = [run for run in runs if _matches(key, value, run)]
            if not left:
                raise LlmjoulesError(f"No run in {self.path} has {key} {value}.", *_instead(key, value, runs))
            runs = left
        return cells_of(runs)


def cells_of(runs: Iterable[Repeat]) -> list[Cell]:
    """Group repeats; cells in the order of their first run, runs in the order in which they were started."""
    groups: dict[tuple[object, ...], list[Repeat]] = {}
    for run in sorted(runs, key=lambda run: (run.started_at or "", run.id)):
        groups.setdefault((*(get(run) for get in SETTINGS.values()), run.cell, run.class_), []).append(run)
    return [Cell(settings_of(group[0]), group[0].cell, tuple(group)) for group in groups.values()]


def settings_of(run: Repeat) -> dict[str, str | None]:
    return {key: None if (value := get(run)) is None else plain(str(value)) for key, get in SETTINGS.items()}


def plain(text: str) -> str:
    """Records come from anywhere, and this ends up in a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:300])


def load_of(record: Record) -> str:
    """The process that ran it; a published figure without one stands for itself."""
    return record.load.id if record.load is not None else record.id


def pair(
    a: Sequence[Cell], b: Sequence[Cell], *, same_settings: bool = False
) -> tuple[list[tuple[Cell, Cell]], list[str]]:
    """Cells of A with the cell of B that has the same settings, but for those that have no value on both sides.

    same_settings: only with one whose settings are all the same. Without it, a single cell of A is compared with a
    single one of B whatever they are. Also the titles of cells that have no partner.
    Raises LlmjoulesError where a cell has several, or none has one.
    """
    if len(a) == len(b) == 1 and not same_settings:
        return [(a[0], b[0])], []
    free = [key for key in SETTINGS if not same_settings and not _values(key, a) & _values(key, b)]
    fixed = [key for key in SETTINGS if key not in free]
    pairs, alone = [], []
    for cell in a:
        partners = [other for other in b if all(cell.settings[key] == other.settings[key] for key in fixed)]
        rivals = [other for other in a if all(cell.settings[key] == other.settings[key] for key in fixed)]
        if partners and len(partners) * len(rivals) > 1:
            raise _ambiguous(rivals, partners)
        pairs += [(cell, other) for other in partners]
        alone += [] if partners else [f"A: {cell.title(telling(a))}"]
    matched = {id(other) for _, other in pairs}
    alone += [f"B: {other.title(telling(b))}" for other in b if id(other) not in matched]
    if not pairs and same_settings:
        differing = [key for key in SETTINGS if _values(key, a) != _values(key, b)]
        raise LlmjoulesError(
            "No cell of the results has the settings of one in the baseline.",
            f"They differ in {', '.join(differing) or 'how settings are combined'}.",
            "Measure with the settings of the baseline, or compare unlike cells with llmjoules compare.",
        )
    if not pairs:
        raise LlmjoulesError(
            "No cell of A has a partner in B.",
            f"They agree in nothing but {', '.join(key for key in fixed if _values(key, a) != {None}) or 'nothing'}.",
            "Choose one cell of each: RESULTS#KEY=VALUE,… with " + "; ".join(_choices([*a, *b])),
        )
    return pairs, alone


def telling(cells: Sequence[Cell]) -> list[str]:
    """The settings in which cells differ."""
    return [key for key in SETTINGS if len(_values(key, cells)) > 1]


def _ambiguous(a: Sequence[Cell], b: Sequence[Cell]) -> LlmjoulesError:
    choices = _choices(a if len(a) > 1 else b) or [plain(f"cell={cell.name}") for cell in (a if len(a) > 1 else b)]
    return LlmjoulesError(
        f"{len(a)} cells of A fit {len(b)} of B.",
        "What they differ in is not the same on both sides, so it is not clear which to compare.",
        "Choose with RESULTS#KEY=VALUE,…: " + "; ".join(choices),
    )


def _choices(cells: Sequence[Cell]) -> list[str]:
    return [f"{key}={'|'.join(sorted(map(str, _values(key, cells))))}" for key in telling(cells)]


def _values(key: str, cells: Iterable[Cell]) -> set[str | None]:
    return {cell.settings[key] for cell in cells}


def _get(key: str) -> Callable[[Repeat], object]:
    return SETTINGS.get(key) or NAMES[key]


def _matches(key: str, value: str, run: Repeat) -> bool:
    found = _get(key)(run)
    if found is None:
        return value in ("", "None")
    hashed = key in ("cell", "class", "text") and len(value) >= 4
    return str(found) == value or (hashed and str(found).startswith(value))


def _nearest(word: str, known: Sequence[str]) -> str:
    names = sorted({plain(name) for name in known})
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"The nearest is {close[0]}." if close else f"There are: {', '.join(names[:20]) or 'none'}."


def _instead(key: str, value: str, runs: Sequence[Repeat]) -> tuple[str, str]:
    """Why no run has this value, and what to choose by."""
    known = [str(found) for run in runs if (found := _get(key)(run)) is not None]
    if known:
        return _nearest(value, known), f"Choose one that there is, or leave {key} out."
    said = [name for name in SETTINGS if any(_get(name)(run) is not None for run in runs)]
    return f"None of its runs says {key}.", f"Choose by what they say: {', '.join(said)}."


def differences(a: Cell, b: Cell) -> dict[str, tuple[str, str]]:
    """All that the records say is not the same on both sides, by name: settings, versions and power limits, meters."""
    found = {key: (a.settings[key], b.settings[key]) for key in SETTINGS if a.settings[key] != b.settings[key]}
    shown = {key: (_shown(one), _shown(other)) for key, (one, other) in found.items()}
    for collect in (_versions, _meters):
        one, other = collect(a.runs), collect(b.runs)
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                shown[key] = (_shown(one.get(key)), _shown(other.get(key)))
    classes = [", ".join(sorted({run.class_ or "none" for run in cell.runs})) for cell in (a, b)]
    return shown | ({"class": (classes[0], classes[1])} if classes[0] != classes[1] else {})


def same_work(a: Cell, b: Cell) -> bool | None:
    """Are prompt, answer and the rest of the class the same? None where a record does not say how long the texts are.

    A class without lengths says no more than that they are missing.
    """
    runs = (*a.runs, *b.runs)
    if any(None in (run.class_, run.workload.prompt_tokens, run.workload.new_tokens) for run in runs):
        return None
    return {run.class_ for run in a.runs} == {run.class_ for run in b.runs}


def _shown(value: str | None) -> str:
    return "not said" if value is None else plain(value)


def versions_of(record: Record) -> dict[str, str]:
    """By name what may change between repeats unseen, as far as a record says: versions of software and of the
    driver, and the `power limit` of its accelerators, once for all that have the same."""
    software: Mapping[str, str | None] = getattr(record, "software", {})
    found = {plain(name): plain(version) for name, version in software.items() if version is not None}
    known = {board.power_limit_w for board in record.system.accelerators if board.power_limit_w is not None}
    return found | ({"power limit": " + ".join(f"{limit_w:g} W" for limit_w in sorted(known))} if known else {})


def each_of(found: Iterable[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """By name every value that there is, in order."""
    values: dict[str, set[str]] = {}
    for one in found:
        for name, value in one.items():
            values.setdefault(name, set()).add(value)
    return {name: tuple(sorted(values[name])) for name in sorted(values)}


def _versions(runs: Iterable[Repeat]) -> dict[str, str]:
    return {name: ", ".join(each) for name, each in each_of(map(versions_of, runs)).items()}


def _meters(runs: Iterable[Repeat]) -> dict[str, str]:
    options: dict[str, set[str]] = {}
    for run in runs:
        for meter in run.meters:
            for key, value in meter.options.items():
                options.setdefault(plain(f"{meter.name}.{key}"), set()).add(str(value))
    return {key: ", ".join(sorted(found)) for key, found in options.items()}
