"""What an importer is, and what it says while it reads: records, and what became of everything else in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import msgspec

from llmjoules.records.record import Correction, Failed, Published, Run

if TYPE_CHECKING:
    from llmjoules.records.importers.reading import SourceFile


class Bad(NamedTuple):
    """A line that was skipped, or a column of it that gave no figure. fix: what the user can do; may be empty."""

    line: int
    why: str
    column: str = ""
    fix: str = ""


class Note(NamedTuple):
    """What the user should know about this file; said once."""

    text: str


class Unmapped(NamedTuple):
    """Something of the file that no record keeps, such as a column. Counted by what, and listed at the end."""

    what: str
    times: int = 1


Item: TypeAlias = Run | Failed | Published | Bad | Note | Unmapped


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every importer can be told, because few files say it: `--set NAME=VALUE`.

    model, system, accelerator: names. new_tokens: output tokens per row where the file has no count.
    batch_size: rows of the batch. study, licence, citation: as the records shall state them.
    """

    model: str | None = None
    system: str | None = None
    accelerator: str | None = None
    new_tokens: int | None = None
    batch_size: int | None = None
    study: str | None = None
    licence: str | None = None
    citation: str | None = None


class Units:
    """Units that the user confirms for columns whose heading is wrong (`--unit COLUMN=mJ`), and who he is.

    A column may be a pattern: `GPU-* Energy (uJ)`. used: the patterns that met a column.
    """

    def __init__(
        self, by_column: Mapping[str, str] | None = None, by: str = "whoever imported it, with --unit"
    ) -> None:
        self.by_column = dict(by_column or {})
        self.by = by
        self.used: set[str] = set()

    def of(self, column: str, stated: str) -> tuple[str, Correction | None]:
        """The unit to convert from, and the correction to record if that is not the one that the source states."""
        for pattern, taken in self.by_column.items():
            if pattern == column or fnmatchcase(column, pattern):
                self.used.add(pattern)
                if taken != stated:
                    return taken, Correction(column=column, stated=stated, taken=taken, by=self.by)
        return stated, None


class Importer:
    """Reads one format. A subclass is about a page: it says which files are its own, and yields records from one.

    name: what the command calls the format. summary: one line. Options: a typed struct of what it can be told.
    general: it takes files of other formats too, and is no good guess.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    general: ClassVar[bool] = False

    def matches(self, file: SourceFile) -> bool:
        """Is this its format? By `file.lines_at_head()`, `file.head` (64 kB, decompressed) and `file.name`."""
        raise NotImplementedError

    def read(self, file: SourceFile, options: Any, units: Units) -> Iterator[Item]:
        """Everything in the file, as a stream: memory must not grow with it.

        Energies and times are converted once, here. What cannot be read is a `Bad`, never an exception; raise
        LlmjoulesError only where nothing of the file can be read.
        """
        raise NotImplementedError
