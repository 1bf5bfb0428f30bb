"""From records to pages: which pages there are, and what each template is given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from llmjoules.records.record import Failed, Record, Run, encode
from llmjoules.sitegen import figures, finding, flags, powerfig, runview, text
from llmjoules.sitegen.aggregate import FEW_RUNS, Row, primary_rows, rows_of, telling
from llmjoules.sitegen.load import Entry, Loaded
from llmjoules.sitegen.trace import areas, disagreeing, trace_of
from llmjoules.sitegen.views import (
    anchor,
    basis,
    group_page,
    load_numbers,
    row_badges,
    row_views,
    run_badges,
    run_line,
    table_view,
    when,
)

# The hash is that of an empty style element, which Plotly adds and fills through the style sheet interface.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'"
)
NAV = (
    ("index.html", "Overview"),
    ("models/index.html", "Models"),
    ("systems/index.html", "Systems"),
    ("scaling.html", "Scaling"),
    ("runs/index.html", "Runs"),
    ("methods.html", "Methods"),
    ("health.html", "Data health"),
)


class Assets(NamedTuple):
    """Paths inside the site; plotly_styles: ids of style elements that must not be added, see charts.js."""

    css: str
    theme: str
    charts: str
    plotly: str
    plotly_styles: str


class Page(NamedTuple):
    """One file of the site. render is called once, when the file is written: what it needs is in memory only then."""

    path: str
    render: Callable[[], str]


class Site:
    """All pages of a site. Holds records and rows; traces are decoded one page at a time."""

    def __init__(self, loaded: Loaded, title: str, base_url: str | None, assets: Assets) -> None:
        self.loaded = loaded
        self.title = title
        self.base_url = base_url
        self.assets = assets
        self.rows = rows_of(loaded.entries)
        self._loads = load_numbers(loaded.entries)
        self._rows_of_run: dict[str, list[Row]] = {}
        for row in self.rows:
            for entry in row.entries:
                self._rows_of_run.setdefault(entry.record.id, []).append(row)
        self._mismatches: list[tuple[Entry, str]] = []
        self._env = environment()

    def pages(self) -> Iterator[Page]:
        """Run pages come before the health page, which tells what they found."""
        yield Page("index.html", self._home)
        yield Page("scaling.html", self._scaling)
        for folder, pick in (("models", _model_name), ("systems", _system_name)):
            names = sorted({pick(entry) for entry in self.loaded.entries})
            yield Page(f"{folder}/index.html", partial(self._groups, folder, names))
            for name in names:
                yield Page(group_page(folder, name), partial(self._group, folder, name))
        yield Page("runs/index.html", self._runs)
        for entry in self.loaded.entries:
            yield Page(run_page(entry), partial(self._run, entry))
            yield Page(f"runs/{entry.page}.json", partial(_json, entry.record))
        yield Page("methods.html", self._methods)
        yield Page("health.html", self._health)
        if self.base_url is not None:
            yield Page("sitemap.xml", self._sitemap)

    def _methods(self) -> str:
        return self._render("methods.html", "methods.html", title="How llmjoules measures")

    def _home(self) -> str:
        rows = primary_rows(self.rows)
        others = sorted({text.component_name(row.component) for row in self.rows if row not in rows})
        return self._render(
            "home.html",
            "index.html",
            title=finding.home_title(rows),
            lead=self._counts(),
            table=table_view(finding.sections(rows), rows),
            charts=self._home_charts(rows),
            failed=len(self.loaded.failed),
            others=text.listed(others) if others else "",
        )

    def _home_charts(self, rows: Sequence[Row]) -> list[figures.Figure]:
        """Energy and speed of the curves that there are most of; none where nothing was varied."""
        choices = [(by, [curve for curve in finding.curves(rows, by) if len(curve.rows) > 1]) for by in (False, True)]
        by_threads, curves = max(choices, key=lambda choice: len(choice[1]))
        charts = [figures.scaling_figure(curves, figure, by_threads) for figure in ("j_per_token", "tokens_per_s")]
        return [chart for chart in charts if chart.table.rows]

    def _scaling(self) -> str:
        rows = primary_rows(self.rows)
        groups = []
        every: list[finding.Curve] = []
        for by_threads in (False, True):
            curves = finding.curves(rows, by_threads)
            every += curves
            long = [curve for curve in curves if len(curve.rows) > 1]
            if long:
                charts = [
                    figures.scaling_figure(long, figure, by_threads) for figure in ("j_per_token", "tokens_per_s")
                ]
                groups.append(
                    {
                        "name": "Threads" if by_threads else "Devices",
                        "findings": [finding.curve_finding(curve) for curve in long],
                        "charts": [chart for chart in charts if chart.table.rows],
                        "table": table_view(
                            [
                                finding.Section(curve.name, finding.gain_words(curve.rows), curve.rows, False)
                                for curve in long
                            ],
                            [row for curve in long for row in curve.rows],
                        ),
                    }
                )  # fmt: skip
        return self._render("scaling.html", "scaling.html", title=finding.scaling_title(every), groups=groups)

    def _groups(self, folder: str, names: Sequence[str]) -> str:
        items = []
        for name in names:
            rows, entries = self._of(folder, name)
            other = {_system_name(e) if folder == "models" else _model_name(e) for e in entries}
            runs = sum(isinstance(entry.record, Run) for entry in entries)
            own = finding.group_title(name, rows).split(": ", 1)[1]
            items.append((text.shown(name), group_page("", name).lstrip("/"), own, len(other), runs))
        noun = "model" if folder == "models" else "system"
        title = text.sentence(text.count(len(names), noun))
        other_noun = "Systems" if folder == "models" else "Models"
        return self._render(
            "groups.html", f"{folder}/index.html", title=title, noun=noun, items=items, other=other_noun
        )

    def _group(self, folder: str, name: str) -> str:
        rows, entries = self._of(folder, name)
        first = next((e.record for e in entries if isinstance(e.record, Run)), entries[0].record)
        facts = runview.facts_of_model(first) if folder == "models" else runview.facts_of_system(first)
        primary = primary_rows(rows)
        charts = [figures.rows_figure(primary, finding.short(name))] if any(row.j_per_token for row in primary) else []
        stacked = [row for row in primary if row.component == primary[0].component] if folder == "models" else []
        phases = figures.phases_figure(stacked) if stacked else None
        return self._render(
            "group.html",
            group_page(folder, name),
            title=finding.group_title(name, rows),
            name=text.shown(name, 200),
            lead=_group_lead(folder, rows, entries),
            folder=folder,
            facts=facts,
            table=table_view(finding.sections(rows), rows),
            charts=[*([phases] if phases is not None else []), *charts],
            settings=[self._setting(row, primary) for row in primary],
            failed=[run_line(entry, self._loads) for entry in entries if isinstance(entry.record, Failed)],
        )

    def _of(self, folder: str, name: str) -> tuple[list[Row], list[Entry]]:
        pick = _model_name if folder == "models" else _system_name
        rows = [row for row in self.rows if (row.model if folder == "models" else row.system) == name]
        return rows, [entry for entry in self.loaded.entries if pick(entry) == name]

    def _setting(self, row: Row, among: Sequence[Row]) -> dict[str, Any]:
        lines = [run_line(entry, self._loads) for entry in row.entries]
        names = telling(among)
        words = [text.shown(row.system if len({r.system for r in among}) > 1 else "", 40)]
        words += [text.shown(row.model, 40)] if len({r.model for r in among}) > 1 else []
        words += [finding.units(row)] if row.units is not None else []
        words += [row.settings[name] for name in names if name in row.settings]
        heading = ", ".join(filter(None, words)) or "All runs"
        return {
            "anchor": anchor(row),
            "heading": text.shown(heading, 160),
            "lines": lines,
            "badges": row_badges(row),
            "basis": basis(row.j_per_token or row.tokens_per_s),
        }

    def _runs(self) -> str:
        lines = [run_line(entry, self._loads) for entry in self.loaded.entries]
        return self._render("runs.html", "runs/index.html", title=text.sentence(self._counts()), lines=lines)

    def _run(self, entry: Entry) -> str:
        record = entry.record
        trace, why_no_trace = trace_of(record)
        power = powerfig.power_figure(record, trace) if trace is not None else None
        for area in disagreeing(areas(record, trace)) if trace is not None else ():
            name = text.component_name(area.component)
            self._mismatches.append((entry, f"the area under the {name} trace is not the energy of the record"))
        rows = self._rows_of_run.get(record.id, [])
        table = runview.phase_table(record)
        return self._render(
            "run.html",
            run_page(entry),
            title=finding.run_title(record),
            record=record,
            line=run_line(entry, self._loads),
            subtitle=_subtitle(record, rows),
            badges=run_badges(record, rows),
            model_page=group_page("models", record.model.name),
            system_page=group_page("systems", record.system.name),
            setting=f"{group_page('models', record.model.name)}#{anchor(rows[0])}" if rows else None,
            cards=[] if isinstance(record, Failed) and not record.totals else runview.cards(record, rows),
            power=power,
            no_trace=why_no_trace,
            legend=_legend(record),
            phases=table,
            evidence=runview.evidence(record, entry.file, entry.line),
            flags=[flags.in_words(flag) for flag in record.flags],
            states=runview.state_rows(record),
            channels=runview.channel_rows(record),
            options=runview.options(record),
            facts=[*runview.facts_of_model(record), *runview.facts_of_system(record), *runview.facts_of_work(record)],
            command=record.command if isinstance(record, Run | Failed) else None,
            error=text.shown(record.error.message, 2000) if isinstance(record, Failed) else None,
            raw=runview.raw_json(record),
            json_name=f"{entry.page}.json",
        )

    def _health(self) -> str:
        flagged: dict[str, list[Entry]] = {}
        missing: list[tuple[Entry, str]] = []
        for entry in self.loaded.entries:
            for flag in entry.record.flags:
                flagged.setdefault(flag, []).append(entry)
            for name, total in sorted(entry.record.totals.items()):
                if total.joules is None:
                    missing.append(
                        (entry, f"{text.component_name(name)}: {text.shown(total.reason or 'no reason given', 200)}")
                    )
        few = [
            view for view in row_views(primary_rows(self.rows)) if view.row.runs < FEW_RUNS and not view.row.published
        ]
        return self._render(
            "health.html",
            "health.html",
            title=self._health_title(sum(bool(entry.record.flags) for entry in self.loaded.entries)),
            bad=[(text.shown(line.file, 120), line.line, text.shown(line.why, 240)) for line in self.loaded.bad],
            failed=[run_line(entry, self._loads) for entry in self.loaded.failed],
            flags=[
                (text.shown(flag, 80), flags.in_words(flag), [(e.page, finding.run_title(e.record)) for e in entries])
                for flag, entries in sorted(flagged.items())
            ],
            missing=[(e.page, finding.run_title(e.record), why) for e, why in missing],
            mismatches=[(e.page, finding.run_title(e.record), why) for e, why in self._mismatches],
            few=few,
        )

    def _health_title(self, flagged: int) -> str:
        bad, failed = len(self.loaded.bad), len(self.loaded.failed)
        carry = f"; {text.count(flagged, 'run')} {'carries' if flagged == 1 else 'carry'} a flag" if flagged else ""
        if not bad and not failed:
            return f"Every line was read and no run failed{carry}"
        said = [f"{text.count(bad, 'line')} skipped"] if bad else []
        said += [f"{text.count(failed, 'run')} failed"] if failed else []
        return text.sentence(text.listed(said)) + carry

    def _sitemap(self) -> str:
        pages = sorted(page.path for page in self.pages() if page.path.endswith(".html"))
        urls = "".join(f"<url><loc>{Markup.escape(self.url(path))}</loc></url>\n" for path in pages)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            f"{urls}</urlset>\n"
        )

    def url(self, path: str) -> str:
        return f"{self.base_url}/{path}".removesuffix("index.html")

    def _counts(self) -> str:
        loaded = self.loaded
        models = len({_model_name(entry) for entry in loaded.entries})
        systems = len({_system_name(entry) for entry in loaded.entries})
        said = [text.count(models, "model", spell=False), text.count(systems, "system", spell=False)]
        said += [text.count(len(loaded.runs), "run", spell=False)]
        said += [f"{len(loaded.failed)} failed"] if loaded.failed else []
        said += [text.count(len(loaded.published), "published figure", spell=False)] if loaded.published else []
        return ", ".join(said)

    def _render(self, template: str, path: str, **context: Any) -> str:
        root = "../" * path.count("/")
        return self._env.get_template(template).render(
            **context,
            root=root,
            path=path,
            site_title=self.title,
            nav=NAV,
            csp=CSP,
            assets=self.assets,
            canonical=self.url(path) if self.base_url is not None else None,
            version=_version(),
            records=len(self.loaded.entries),
            skipped=len(self.loaded.bad),
        )


def environment() -> jinja2.Environment:
    """Everything is escaped, an unknown name is an error, and characters that hide others become visible."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("llmjoules", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: text.clean(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["data"] = _data
    env.filters["count"] = text.count
    env.filters["breakable"] = _breakable
    return env


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line after a `-`, `:`, `/` or `_`, rather than anywhere."""
    pieces = re.split(r"(?<=[-:/_])(?=[^-:/_])", text.clean(name))
    return Markup("<wbr>").join(pieces)


def _data(value: Any) -> Markup:
    """JSON for a data block: no character that could end the block or begin a tag, and no NaN."""
    dumped = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _group_lead(folder: str, rows: Sequence[Row], entries: Sequence[Entry]) -> str:
    other = {entry.record.system.name if folder == "models" else entry.record.model.name for entry in entries}
    said = [text.count(len({row.key for row in rows}), "setting", spell=False)]
    said += [text.count(len(other), "system" if folder == "models" else "model", spell=False)]
    said += [text.count(sum(isinstance(entry.record, Run) for entry in entries), "run", spell=False)]
    failed = sum(isinstance(entry.record, Failed) for entry in entries)
    return ", ".join([*said, *([f"{failed} failed"] if failed else [])])


def _version() -> str:
    try:
        return version("llmjoules")
    except PackageNotFoundError:
        return "from source"


def _json(record: Record) -> str:
    return encode(record).decode("utf-8", "replace") + "\n"


def run_page(entry: Entry) -> str:
    return f"runs/{entry.page}.html"


def _model_name(entry: Entry) -> str:
    return entry.record.model.name


def _system_name(entry: Entry) -> str:
    return entry.record.system.name


def _subtitle(record: Record, rows: Sequence[Row]) -> str:
    of = f" of {rows[0].runs}" if rows else ""
    words = [f"Run {record.repeat + 1}{of}" if isinstance(record, Run | Failed) else f"From {record.source}"]
    words += [record.model.dtype or "", f"batch {record.workload.batch_size}" if record.workload.batch_size else ""]
    words += [record.workload.decoding or "", when(record)]
    return " · ".join(text.shown(word, 80) for word in words if word)


def _legend(record: Record) -> list[tuple[str, str, str]]:
    """Class, name and length of each band under the trace."""
    return [
        (f"p-{band.name.replace('+', '-')}", band.name.replace("+", " + "), text.seconds(band.end_s - band.start_s))
        for band in powerfig.bands(record.phases)
    ]
