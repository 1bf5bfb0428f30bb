"""Making what has changed: a file of the site has a key of what it is made from; where that is as before, it stays."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Record, json_schema
from llmjoules.records.store import BadLine
from llmjoules.sitegen import data, downloads
from llmjoules.sitegen.cache import Cache, Made, Memory, Report, block_key, key_of, program, stamp
from llmjoules.sitegen.config import Limits
from llmjoules.sitegen.extra import Results, extra_pages
from llmjoules.sitegen.health import BadEntry
from llmjoules.sitegen.home import Home
from llmjoules.sitegen.index import Index, Place, about, read_table
from llmjoules.sitegen.inputs import Block, Inputs, record_at, relative
from llmjoules.sitegen.pages import Page, Site
from llmjoules.sitegen.render import NAV, Look
from llmjoules.sitegen.runpage import RunPage
from llmjoules.sitegen.theme import STYLE, Theme, style_of
from llmjoules.sitegen.workers import Begun, BlockJob, Job, PagesJob, Workers

if TYPE_CHECKING:
    import pyarrow

ASSETS = {
    "css": "site.css",
    "theme": "theme.js",
    "icon": "icon.svg",
    "charts": "charts.js",
    "sketch": "sketch.js",
    "power": "power.js",
    "run": "run.js",
    "runs": "runs.js",
    "reader": "reader.js",
    "compare": "compare.js",
}
# The map libraries inside Plotly add a style element, which our pages forbid, unless something has its id already.
STYLE_IDS = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')
PATHS = {path for path, _ in NAV} | {"run.html", "404.html"}
EXTRA_AT = 6  # before downloads
PAGES_A_JOB = 50


class Options(Struct, frozen=True):
    title: str
    base_url: str | None
    strict: bool
    max_run_pages: int
    notes: tuple[str, ...] = ()
    limits: Limits = Limits()
    theme: Theme = Theme()


class Build:
    """made: whether there is anything to put in place. kept: files of the old site that stay."""

    def __init__(
        self,
        inputs: Inputs,
        sources: Sequence[Path],
        options: Options,
        script: bytes,
        memory: Cache,
        staged: Path,
        ours: Iterable[str],
        hands: Workers,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.inputs, self.options, self.staged = inputs, options, staged
        self._sources = sources
        self.made = False
        self.kept: dict[str, Made] = {}
        self._new: dict[str, tuple[str, str]] = {}
        self._memory, self._hands, self._progress = memory, hands, progress
        self._done = self._total = 0
        self._assets, self._look = _assets(options, script)
        self._code = program()
        self._salt = self._salted()
        self._with_shards = sum(block.lines for block in inputs.blocks) > options.max_run_pages
        self._keys = [block_key(self._code, block, self._with_shards) for block in inputs.blocks]
        unread = [(line.file.name, line.why) for line in inputs.bad]
        of_home = options.notes, options.limits
        self._results = Results(sources, inputs.blocks, memory.memory.without)
        # They are asked each time: what a page of theirs is made from, their code for one, only they know.
        self._extra, self._faults = extra_pages(self._results, PATHS)
        of_extra = self._extra, self._faults
        self._whole = key_of(self._salt, self._keys, unread, options.max_run_pages, of_extra, of_home)
        self._standing = memory.standing(ours)
        self._files = {block.place: Path(block.file) for block in inputs.blocks}

    def _salted(self) -> str:
        """Of all that decides every page. Where a user's templates lie decides nothing, what they say does."""
        theme = msgspec.structs.replace(self._look.theme, folder=None)
        return key_of(self._code, msgspec.structs.replace(self._look, theme=theme))

    def last_report(self) -> Report | None:
        """What the last build found, where nothing that it was made from or wrote has changed since."""
        last = self._memory.memory
        if last.report is None or last.whole != self._whole or len(self._standing) < len(last.files):
            return None
        self._refuse_bad(self.bad_lines(last.report))
        return last.report

    def bad_lines(self, report: Report) -> tuple[BadLine, ...]:
        of_blocks = (BadLine(self._files[place], line, why) for place, line, why in report.bad)
        return (*self.inputs.bad, *of_blocks)

    def make(self, on_bad: Callable[[BadLine], None] | None) -> Report:
        """Make everything that is not as before. Raises LlmjoulesError where there is nothing to make a site of."""
        self.made = True
        tables = self._read_blocks()
        notes = [about(table) for table in tables]
        bad = tuple(
            (block.place, line, why)
            for block, note in zip(self.inputs.blocks, notes, strict=True)
            for line, why, _, _ in note["bad"]
        )
        lines = (*self.inputs.bad, *(BadLine(self._files[place], line, why) for place, line, why in bad))
        if on_bad is not None:
            for one in lines:
                on_bad(one)
        self._refuse_bad(lines)
        if not sum(map(len, tables)):
            raise _nothing(self._sources, len(lines))
        index = Index(tables)
        named = [BadEntry(relative(one.file, self._sources), one.line, one.why) for one in lines]
        nav = (*NAV[:EXTRA_AT], *((page.path, page.name) for page in self._extra), *NAV[EXTRA_AT:])
        self._look = msgspec.structs.replace(self._look, nav=nav)
        self._salt = self._salted()
        home = Home(self.options.notes, self.options.limits)
        site = Site(
            index, named, self._look, self.options.max_run_pages, self._record_at, self._extra, self._faults, home
        )
        skips: dict[str, list[tuple[int, int]]] = {}
        for block, note in zip(self.inputs.blocks, notes, strict=True):
            skips.setdefault(block.place, []).extend((offset, length) for _, _, offset, length in note["bad"])
        again: dict[str, list[int]] = {}
        for number, offset in index.again():
            again.setdefault(self.inputs.blocks[number].place, []).append(offset)
        pages = self._write(site, downloads.parts_of(self.inputs.blocks, skips, again))
        return Report(index.count("run"), index.count("failed"), index.count("published"), bad, pages)

    def remember(self, report: Report) -> None:
        """Call it when the new files are in place."""
        files_ = dict(self.kept)
        for name, (key, sha256) in self._new.items():
            found = stamp(self._memory.site / name)
            if found is not None:
                files_[name] = Made(key, found, sha256)
        now = {block.sha256 for block in self.inputs.blocks}
        without = {words: sorted(found & now) for words, found in self._results.without.items()}
        self._memory.save(Memory(self.inputs.seen, files_, self._whole, report, without), self._keys)

    def _read_blocks(self) -> list[pyarrow.Table]:
        blocks = dict(zip(self._keys, self.inputs.blocks, strict=True))
        kept = {key: self._memory.table(key) for key in blocks if self._memory.table(key).exists()}
        new = [key for key in blocks if key not in kept]
        begun = self._begin([self._block_job(blocks[key], key) for key in new])
        good = {key: self._still_good(file, key) for key, file in kept.items()}
        spoilt = [key for key, table in good.items() if table is None]
        made = begun.finish() + self._begin([self._block_job(blocks[key], key) for key in spoilt]).finish()
        for key, shards in zip(new + spoilt, made, strict=True):
            self._new |= dict.fromkeys(shards, (key, ""))
        return [good.get(key) or read_table(self._memory.table(key)) for key in self._keys]

    def _block_job(self, block: Block, key: str) -> BlockJob:
        return BlockJob(block, str(self._memory.table(key)), str(self.staged) if self._with_shards else None)

    def _still_good(self, kept: Path, key: str) -> pyarrow.Table | None:
        try:
            table = read_table(kept)
            shards = about(table)["shards"]
        except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError):  # pyarrow's are ValueErrors
            return None
        if all(name in self._standing and self._standing[name].key == key for name in shards):
            self.kept |= {name: self._standing[name] for name in shards}
            return table
        return None

    def _write(self, site: Site, parts: Sequence[downloads.Part]) -> int:
        """Write or keep every file; how many of them are pages."""
        for name, content in self._assets.items():
            self._put(name, content)
        if site.searched:
            self._put("data/index.js", data.index_script(site.index, site.with_page, site.few))
        if site.shell:
            for name, content in (*data.where_scripts(site.places), *data.setting_scripts(site.settings())):
                self._put(name, content)
        run_pages = self._run_pages(site)
        pages = [page for page in site.pages() if not self._keep(page.path, self._page_key(page))]
        to_make = [part for part in parts if not self._keep_all(part.paths, part.key)]
        jobs: list[Job] = [part.job(self.staged) for part in to_make]
        jobs += [
            PagesJob(self._look, tuple(run_pages[k : k + PAGES_A_JOB]), str(self.staged))
            for k in range(0, len(run_pages), PAGES_A_JOB)
        ]
        self._total += len(pages) + 1
        begun = self._begin(jobs)
        for page in pages:
            self._put(page.path, page.render().encode("utf-8", "replace"), self._page_key(page))
            self._step()
        for part, sums in zip(to_make, begun.finish()[: len(to_make)], strict=True):
            self._new |= {path: (part.key, sha256) for path, sha256 in zip(part.paths, sums, strict=True)}
        self._downloads(site, parts)
        self._step()
        self._put(".nojekyll", b"")
        paths = [name for name in (*self.kept, *self._new) if name.endswith(".html")]
        if self.options.base_url is not None:
            self._put("sitemap.xml", site.sitemap([path for path in paths if path != "404.html"]).encode())
        return len(paths)

    def _run_pages(self, site: Site) -> list[RunPage]:
        """The pages of runs that are to be made anew."""
        todo = []
        for place in site.places:
            if place.page not in site.with_page:
                continue
            block, beside = self.inputs.blocks[place.file], site.beside(place.key)
            key = key_of(self._salt, place.sha256, block.name, place.line, beside)
            names = (f"runs/{place.page}.html", f"runs/{place.page}.json")
            if not self._keep_all(names, key):
                self._new |= dict.fromkeys(names, (key, ""))
                todo.append(RunPage(place.page, block.file, block.name, place.line, place.offset, place.length, beside))
        return todo

    def _downloads(self, site: Site, parts: Sequence[downloads.Part]) -> None:
        schema = msgspec.json.format(msgspec.json.encode(json_schema()), indent=1) + b"\n"
        found = []
        for path, name in ((path, part.name) for part in parts for path in part.paths):
            if path in self.kept:
                made = self.kept[path]
                found.append(downloads.File(path, name, made.stamp[0], made.sha256))
            else:
                size = (self.staged / path).stat().st_size
                found.append(downloads.File(path, name, size, self._new[path][1]))
        small = [
            (downloads.SCHEMA, "JSON Schema of a record", schema),
            (downloads.TABLE_COLUMNS, "Columns of the table", downloads.columns_csv()),
        ]
        small += [(downloads.SKIPPED, "Lines that were skipped", downloads.skipped_csv(site.bad))] if site.bad else []
        for path, name, content in small:
            self._put(path, content)
            found.append(downloads.File(path, name, len(content), hashlib.sha256(content).hexdigest()))
        self._put(downloads.SUMS, downloads.checksums(found))
        self._put("downloads.html", site.downloads(found).encode("utf-8", "replace"))

    def _page_key(self, page: Page) -> str:
        return key_of(self._salt, page.path, page.made_of) if page.made_of is not None else ""

    def _keep(self, name: str, key: str) -> bool:
        made = self._standing.get(name)
        if not key or made is None or made.key != key:
            return False
        self.kept[name] = made
        return True

    def _keep_all(self, names: Sequence[str], key: str) -> bool:
        """Files that are made together stay together or not at all."""
        if all(self._keep(name, key) for name in names):
            return True
        for name in names:
            self.kept.pop(name, None)
        return False

    def _put(self, name: str, content: bytes, key: str = "") -> None:
        target = self.staged / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self._new[name] = (key, "")

    def _begin(self, jobs: Sequence[Job]) -> Begun:
        self._total += len(jobs)
        return self._hands.begin(jobs, self._step)

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _record_at(self, place: Place) -> Record:
        return record_at(self.inputs.blocks[place.file].file, place.offset, place.length)

    def _refuse_bad(self, bad: Sequence[BadLine]) -> None:
        if bad and self.options.strict:
            raise LlmjoulesError(
                f"{len(bad)} of the lines cannot be read, the first being {bad[0].file}:{bad[0].line}.",
                f"{bad[0].why}.",
                "Mend or remove them, or build without --strict: they are then counted and skipped.",
            )


def _nothing(sources: Iterable[Path], bad: int) -> LlmjoulesError:
    where = ", ".join(map(str, sources)) or "the given places"
    why = f"{bad} lines are not records of llmjoules." if bad else "There is no *.jsonl file with a line in it."
    return LlmjoulesError(f"No record to build a site from in {where}.", why, "Measure something: llmjoules measure")


def _assets(options: Options, script: bytes) -> tuple[dict[str, bytes], Look]:
    """Style and scripts; a hash in each name, so that no browser shows a new page with an old style."""
    templates = files("llmjoules") / "templates"
    contents = {key: (name, (templates / name).read_bytes()) for key, name in ASSETS.items()}
    contents["plotly"] = ("plotly.min.js", script)
    if (style := style_of(options.theme)) is not None:
        contents["extra"] = (STYLE, style)
    paths = {key: _asset_name(name, content) for key, (name, content) in contents.items()}
    styles = " ".join(sorted({found.decode() for found in STYLE_IDS.findall(script)}))
    written = {paths[key]: content for key, (_, content) in contents.items()}
    return written, Look(options.title, options.base_url, paths, styles, theme=options.theme)


def _asset_name(name: str, content: bytes) -> str:
    stem, _, ending = name.partition(".")
    return f"assets/{stem}.{hashlib.sha256(content).hexdigest()[:8]}.{ending}"
