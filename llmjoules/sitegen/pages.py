"""From the index to pages: which pages there are, and what each template is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import inf
from typing import Any, NamedTuple

from markupsafe import Markup

from llmjoules.records.export_table import COLUMNS
from llmjoules.records.record import Record
from llmjoules.sitegen import figures, finding, flags, health, home, runview, scaling, text
from llmjoules.sitegen.aggregate import Row, primary_rows, rows_of, telling
from llmjoules.sitegen.compare import rows_script
from llmjoules.sitegen.downloads import FORMS, File
from llmjoules.sitegen.extra import ExtraPage
from llmjoules.sitegen.health import LISTED, BadEntry, Listed
from llmjoules.sitegen.index import Count, Index, Place
from llmjoules.sitegen.render import Look, Renderer
from llmjoules.sitegen.runpage import Beside, beside
from llmjoules.sitegen.views import RunLine, anchor, basis, group_key, group_page, row_badges, table_view

SETTINGS = "data/settings.js"  # all rows, for the compare page
# What a page lists at most. The rest is found on the page of runs, which pages through all of them, and in downloads.
FIGURE_ROWS = 40
RUNS_OF_SETTING = 25
RUNS_OF_GROUP = 400  # of a model or system, shared out over its settings
RUNS_LISTED = 100


class Page(NamedTuple):
    """One file of the site. made_of: all that decides its bytes; None where that costs as much as making it."""

    path: str
    made_of: Any
    render: Callable[[], str]


class Site:
    """All pages but those of runs, which runpage makes. record_of: reads a record where it stands."""

    def __init__(
        self,
        index: Index,
        bad: Sequence[BadEntry],
        look: Look,
        most_run_pages: int,
        record_of: Callable[[Place], Record],
        extra: Sequence[ExtraPage] = (),
        faults: Sequence[str] = (),
        said: home.Home = home.Home(),  # noqa: B008 -- it cannot be changed
    ) -> None:
        self.extra, self.faults, self._said = extra, faults, said
        self.index = index
        self.bad = bad
        self.rows = rows_of(index)
        self.places = index.places()
        self._record_of = record_of
        self._renderer = Renderer(look)
        self._on_home = home.home_rows(primary_rows(self.rows), said.limits)
        self._beside: dict[str, Beside | None] = {}
        self._found_spots: dict[str, scaling.Spot | None] = {}
        self._of_key: dict[str, list[Row]] = {}
        for row in self.rows:
            self._of_key.setdefault(row.key, []).append(row)
        self.with_page = self._chosen(most_run_pages)
        self.shell = len(self.with_page) < len(self.places)
        self.searched = len(self.places) > RUNS_OF_SETTING  # some list may be cut, and lead on to the page of runs
        self.few = {row.key for row in health.few_rows(self.rows)}
        self._newest = index.newest_of_rows(RUNS_OF_SETTING)

    def _chosen(self, most: int) -> set[str]:
        """Runs with a page of their own: the newest of the best settings, then the newest of all."""
        if len(self.places) <= most:
            return {place.page for place in self.places}
        newest = dict(self.index.rows("SELECT key, last(page ORDER BY started_at, id) FROM record GROUP BY key"))
        best = sorted(
            primary_rows(self.rows), key=lambda row: (row.j_per_token.mean if row.j_per_token else inf, row.key)
        )
        chosen = dict.fromkeys(newest[row.key] for row in best[: most // 2])
        query = "SELECT page FROM record ORDER BY started_at DESC, id DESC LIMIT ?"
        for (page,) in self.index.rows(query, most):
            if len(chosen) < most:
                chosen[page] = None
        return set(chosen)

    def href(self, page: str) -> str:
        return f"runs/{page}.html" if page in self.with_page else f"run.html#id={page}"

    def _link(self, lines: list[RunLine]) -> list[RunLine]:
        for line in lines:
            line.page = self.href(line.page)
        return lines

    def beside(self, key: str) -> Beside | None:
        if key not in self._beside:
            rows = self._of_key.get(key)
            self._beside[key] = beside(rows) if rows else None
        return self._beside[key]

    def settings(self) -> dict[str, Beside]:
        return {key: found for key in self._of_key if (found := self.beside(key)) is not None}

    def pages(self) -> Iterator[Page]:
        yield Page("scaling.html", None, self._scaling)
        yield Page("compare.html", None, self._compare)
        yield Page(SETTINGS, None, lambda: rows_script(self.rows, self.index.loads()))
        for folder in ("models", "systems"):
            of_name: dict[str, list[Row]] = {}
            for row in self.rows:
                of_name.setdefault(row.model if folder == "models" else row.system, []).append(row)
            counts, said = self.index.counts(folder[:-1]), self.index.said_of(folder[:-1])
            yield Page(f"{folder}/index.html", None, partial(self._groups, folder, counts, of_name))
            for name, count in counts.items():
                group = self._gathered(folder, name, count, of_name.get(name, []), said[name])
                listed = [self._newest[key][-group["most"] :] for key in group["keys"]]
                made_of = (group, [[(self.href(line.page), line) for line in lines] for lines in listed])
                yield Page(group_page(folder, name), made_of, partial(self._group, folder, name, group))
        yield Page("runs/index.html", None, self._runs)
        if self.shell:
            yield Page("run.html", None, partial(self._plain, "shell.html", "run.html", "A run"))
            if self._renderer.look.base_url is not None:  # a page in the place of any other must know where it stands
                yield Page("404.html", None, partial(self._plain, "shell.html", "404.html", "There is no such page"))
        for page in self.extra:
            yield Page(
                page.path, None, partial(self._render, "extra.html", page.path, title=page.title, body=page.body)
            )
        yield Page("methods.html", None, partial(self._plain, "methods.html", "methods.html", "How llmjoules measures"))
        yield Page("health.html", None, self._health)
        if self._on_home.more:
            yield Page(f"data/{home.ROWS_DATA}.js", None, partial(home.rows_script, self._on_home, self._renderer))
        yield Page("index.html", None, self._home)

    def _plain(self, template: str, path: str, title: str) -> str:
        return self._render(template, path, title=title)

    def _home(self) -> str:
        rows = primary_rows(self.rows)
        primary = {id(row) for row in rows}
        others = sorted({text.component_name(row.component) for row in self.rows if id(row) not in primary})
        return self._render(
            "home.html",
            "index.html",
            lead=self.counts(),
            charts=self._home_charts(),
            failed=self.index.count("failed"),
            others=text.listed(others) if others else "",
            records=len(self.places),
            skipped=len(self.bad),
            **home.context(self._on_home, self._said, rows),
        )

    def _home_charts(self) -> list[figures.Figure]:
        """Energy and speed of the curves that there are most of; none where nothing was varied."""
        return self._scaling_charts(max(self._curves.values(), key=len))[:2]

    @cached_property
    def _curves(self) -> dict[scaling.By, list[scaling.Curve]]:
        rows = primary_rows(self.rows)
        return {by: scaling.curves(rows, by) for by in scaling.KINDS}

    def _scaling(self) -> str:
        groups = []
        for by, long in self._curves.items():
            shown = scaling.longest(long)
            if long:
                spots = self._spots(shown)
                groups.append(
                    {
                        "name": by.capitalize(),
                        "findings": scaling.findings(shown, spots),
                        "left_out": len(long) - len(shown),
                        "charts": self._scaling_charts(long),
                        "table": table_view(
                            [finding.Section(curve.name, scaling.note(curve), curve.rows, False) for curve in shown],
                            [row for curve in shown for row in curve.rows],
                            by=by,
                        ),
                    }
                )  # fmt: skip
        title = scaling.scaling_title([curve for long in self._curves.values() for curve in long], self._found_spots)
        doubtful = sum(row.doubtful for row in primary_rows(self.rows))
        return self._render("scaling.html", "scaling.html", title=title, groups=groups, doubtful=doubtful)

    def _scaling_charts(self, long: Sequence[scaling.Curve]) -> list[figures.Figure]:
        shown = scaling.longest(long)
        return figures.scaling_figures(long, shown, self._spots(shown)) if shown else []

    def _spots(self, curves: Sequence[scaling.Curve]) -> dict[str, scaling.Spot | None]:
        """The sweet spots of curves that are drawn; each is worked out once."""
        new = [curve for curve in curves if scaling.key_of(curve) not in self._found_spots]
        values = self.index.j_per_token(row.key for curve in new for row in curve.rows)
        self._found_spots |= {scaling.key_of(curve): scaling.spot_of(curve, values) for curve in new}
        return self._found_spots

    def _compare(self) -> str:
        return self._render("compare.html", "compare.html", title="Compare settings", source=SETTINGS)

    def _groups(self, folder: str, counts: Mapping[str, Count], of_name: Mapping[str, list[Row]]) -> str:
        own, other = ("model", "system") if folder == "models" else ("system", "model")
        items = [
            (
                text.shown(name),
                group_page("", name).lstrip("/"),
                finding.group_finding(of_name.get(name, [])),
                count.others,
                count.runs + count.published,
            )
            for name, count in counts.items()
        ]
        title = text.sentence(text.count(len(items), own))
        return self._render(
            "groups.html", f"{folder}/index.html", title=title, noun=own, items=items, other=f"{other.capitalize()}s"
        )

    def _gathered(
        self, folder: str, name: str, count: Count, rows: list[Row], said: Iterable[Iterable[runview.Said]]
    ) -> dict[str, Any]:
        """What decides the page of a model or system, beside the runs that it lists."""
        keys = list(dict.fromkeys(row.key for row in rows))
        failed = self._some(f"{folder[:-1]} = ? AND kind = 'failed'", name) if count.failed else []
        return {
            "rows": rows,
            "keys": keys,
            "most": max(RUNS_OF_GROUP // max(len(keys), 1), 2),
            "others": count.others,
            "runs": count.runs,
            "published": count.published,
            "failed": Listed(failed, count.failed),
            "facts": runview.gathered(said),
        }

    def _some(self, where: str, *values: Any) -> list[RunLine]:
        return self._link(self.index.lines(f"{where} ORDER BY pos LIMIT {LISTED}", *values))

    def _group(self, folder: str, name: str, group: dict[str, Any]) -> str:
        rows = group["rows"]
        primary = primary_rows(rows)
        drawn = primary[:FIGURE_ROWS]
        charts = [figures.rows_figure(drawn, finding.short(name))] if any(row.j_per_token for row in drawn) else []
        stacked = [row for row in drawn if row.component == drawn[0].component] if folder == "models" else []
        phases = figures.phases_figure(stacked) if stacked else None
        names = telling(primary)
        several = len({row.system for row in primary}) > 1, len({row.model for row in primary}) > 1
        return self._render(
            "group.html",
            group_page(folder, name),
            title=f"{finding.short(name)}: {finding.group_finding(rows)}",
            name=text.shown(name, 200),
            lead=_group_lead(folder, group),
            folder=folder,
            key=group_key(name),
            facts=group["facts"],
            table=(table := table_view(finding.sections(rows), rows)),
            all=sum(len(section.rows) for section in table.sections),
            charts=[*([phases] if phases is not None else []), *charts],
            not_drawn=len(primary) - len(drawn),
            settings=[self._setting(row, names, several, group["most"]) for row in primary],
            failed=group["failed"],
        )

    def _setting(self, row: Row, names: Sequence[str], several: tuple[bool, bool], most: int) -> dict[str, Any]:
        words = [text.shown(row.system, 40)] if several[0] else []
        words += [text.shown(row.model, 40)] if several[1] else []
        words += [finding.units(row)] if row.units is not None else []
        words += [row.settings[name] for name in names if name in row.settings]
        heading = ", ".join(filter(None, words)) or "All runs"
        return {
            "anchor": anchor(row),
            "heading": text.shown(heading, 160),
            "lines": Listed(self._link([self.index.line(one) for one in self._newest[row.key][-most:]]), row.runs),
            "key": row.key,
            "badges": row_badges(row),
            "basis": basis(row),
        }

    def _runs(self) -> str:
        lines = Listed(self._link(self.index.lines(f"true ORDER BY pos LIMIT {RUNS_LISTED}")), len(self.places))
        return self._render(
            "runs.html", "runs/index.html", title=text.sentence(self.counts()), lines=lines, searched=self.searched
        )

    def _health(self) -> str:
        failed = self._some("kind = 'failed'")
        found = health.context(self.index, self.rows, self.bad, failed, self.href, self._found)
        return self._render("health.html", "health.html", faults=self.faults, **found)

    def _found(self, flag: str, pos: int) -> str:
        return flags.figures_of(self._record_of(self.places[pos - 1])).get(flag, "") if flags.is_finding(flag) else ""

    def downloads(self, found: Sequence[File]) -> str:
        groups = []
        left = list(found)
        for form in FORMS:
            own = [file for file in left if file.path.endswith(form.ending)]
            left = [file for file in left if not file.path.endswith(form.ending)]
            shown = [(f.path, text.shown(f.name, 120), text.file_size(f.size), f.sha256) for f in own]
            if own:
                groups.append((form.heading, form.about, shown, text.file_size(sum(f.size for f in own))))
        return self._render(
            "downloads.html", "downloads.html", title=f"All {text.count(len(self.places), 'record')}, to take away",
            groups=groups, columns=COLUMNS, skipped=len(self.bad),
        )  # fmt: skip

    def sitemap(self, paths: Sequence[str]) -> str:
        urls = "".join(f"<url><loc>{Markup.escape(self._renderer.url(path))}</loc></url>\n" for path in sorted(paths))
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            f"{urls}</urlset>\n"
        )

    def counts(self) -> str:
        models, systems = self.index.rows("SELECT count(DISTINCT model), count(DISTINCT system) FROM record")[0]
        failed, published = self.index.count("failed"), self.index.count("published")
        said = [text.count(models, "model", spell=False), text.count(systems, "system", spell=False)]
        runs = self.index.count("run")
        said += [text.count(runs, "run", spell=False)] if runs or not published else []
        said += [f"{failed} failed"] if failed else []
        said += [text.count(published, "published figure", spell=False)] if published else []
        return ", ".join(said)

    def _render(self, template: str, path: str, **context: Any) -> str:
        return self._renderer.render(template, path, **context)


def _group_lead(folder: str, group: dict[str, Any]) -> str:
    said = [text.count(len(group["keys"]), "setting", spell=False)]
    said += [text.count(group["others"], "system" if folder == "models" else "model", spell=False)]
    failed, published = group["failed"].all, group["published"]
    said += [text.count(group["runs"], "run", spell=False)] if group["runs"] or not published else []
    said += [text.count(published, "published figure", spell=False)] if published else []
    return ", ".join([*said, *([f"{failed} failed"] if failed else [])])
