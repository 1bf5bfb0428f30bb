"""Pages of plug-ins: entry points `llmjoules.site_pages`, each guarded. Ours go the same way (study.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pluggy

from llmjoules.records.record import Record
from llmjoules.records.store import MAX_LINE_BYTES, read_results
from llmjoules.records.upgrade import UnknownVersion, decode_any_version
from llmjoules.sitegen import text
from llmjoules.sitegen.inputs import BLOCK_BYTES, Block, read_inputs

GROUP = "llmjoules.site_pages"
PATH = re.compile(r"[a-z0-9][a-z0-9-]{0,60}\.html")


class ExtraPage(NamedTuple):
    """A page of its own. path: a file name such as `study.html`; name: in the navigation; title: a sentence.

    body: HTML, put below the title as it is, so what comes from records must be escaped (`fragment` does). The site's
    content security policy holds for it: no script or style of its own.
    """

    path: str
    name: str
    title: str
    body: str


class Results:
    """What the site is built from, for plug-ins: nothing is read until they ask.

    blocks: of the results, where they are known. without: of each text that was asked for, the SHA-256 of blocks that
    do not hold it, so that the next build need not look again.
    """

    def __init__(
        self,
        sources: Iterable[str | Path],
        blocks: Sequence[Block] | None = None,
        without: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self._sources = [Path(source) for source in sources]
        self._blocks = blocks
        self.without = {words: set(found) for words, found in (without or {}).items()}

    def records(self, *containing: str) -> Iterator[Record]:
        """Every readable record once, or those alone whose line holds one of these texts: others are not decoded."""
        if not containing:
            yield from (stored.record for stored in read_results(self._sources, lambda _: None))
            return
        if self._blocks is None:
            self._blocks = read_inputs(self._sources, {}).blocks
        seen: set[str] = set()
        for line in (line for block in self._blocks for line in self._lines(block, containing)):
            record = _decoded(line)
            if record is not None and record.id not in seen:
                seen.add(record.id)
                yield record

    def _lines(self, block: Block, containing: Sequence[str]) -> Iterator[bytes]:
        asked = [words for words in containing if block.sha256 not in self.without.get(words, ())]
        if not asked or block.end - block.start > BLOCK_BYTES + MAX_LINE_BYTES:  # the latter is one endless line
            return
        with open(block.file, "rb") as stream:
            stream.seek(block.start)
            data = stream.read(block.end - block.start)
        held = [words.encode() for words in asked if words.encode() in data]
        for words in asked:
            if words.encode() not in held:
                self.without.setdefault(words, set()).add(block.sha256)
        if held:
            yield from (line for line in data.split(b"\n") if any(words in line for words in held))


def _decoded(line: bytes) -> Record | None:
    """None for a line that is no record: the build names it elsewhere."""
    try:
        return decode_any_version(line)
    except (UnknownVersion, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def extra_pages(results: Results, taken: Iterable[str] = ()) -> tuple[list[ExtraPage], list[str]]:
    """The pages of all plug-ins in the order of their names, and the faults of those that had to be left out.

    taken: paths that the site has already.
    """
    pages: list[ExtraPage] = []
    faults: list[str] = []
    used = set(taken)
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            found = [_checked(page) for page in _pages_of(point, results)]
            for page in found:
                if page.path in used:
                    raise ValueError(f"there is a page {page.path} already")
                used.add(page.path)
            pages += found
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a plug-in may raise anything, SystemExit included
            faults.append(f"{text.shown(point.name)}: {type(error).__name__}: {text.shown(str(error), 200)}")
    return pages, faults


def fragment(package: str, template: str, **context: Any) -> str:
    """A template of the package's folder `templates` as the body of a page. Everything is escaped."""
    import jinja2  # not where only the name of a page is wanted: the base install lacks it

    env = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: text.clean(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return env.get_template(template).render(**context)


def _pages_of(point: EntryPoint, results: Results) -> Sequence[ExtraPage]:
    from llmjoules.sitegen import hookspecs

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(point.load())
    manager.check_pending()  # a misspelt hook would never be called, silently
    if not manager.hook.llmjoules_site_pages.get_hookimpls():
        raise TypeError("it has no hook llmjoules_site_pages, marked @hookimpl")
    answers: Iterable[Iterable[ExtraPage]] = manager.hook.llmjoules_site_pages(results=results)
    return [page for answer in answers for page in answer]


def _checked(page: Any) -> ExtraPage:
    if not isinstance(page, ExtraPage) or not all(isinstance(value, str) for value in page):
        raise TypeError(f"it returned {type(page).__name__} among its pages, not an ExtraPage of texts")
    if PATH.fullmatch(page.path) is None:
        raise ValueError(f"{page.path!r} is no file name such as study.html")
    "".join(page).encode()  # raises: half a pair of surrogates is in no file
    return page
