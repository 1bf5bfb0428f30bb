"""From records to pages: which pages there are, and what each template is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

import llmjoules
from llmjoules.records.record import Failed, Published, Record, Run, encode
from llmjoules.records.stats import Estimate
from llmjoules.sitegen import bars, figures, finding, runview, text
from llmjoules.sitegen.aggregate import (
    FEW_RUNS,
    Row,
    components_of,
    joules_per_token,
    power_w,
    primary_rows,
    rows_of,
    telling,
    tokens_per_s,
)
from llmjoules.sitegen.load import Entry, Loaded
from llmjoules.sitegen.trace import areas, disagreeing, trace_of

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
    """Paths inside the site."""

    css: str
    theme: str
    charts: str
    plotly: str


class Page(NamedTuple):
    """One file of the site. render is called once, when the file is written: what it needs is in memory only then."""

    path: str
    render: Callable[[], str]


class RowView(NamedTuple):
    """A row of figures as a table shows it. setting: the varying settings in words; evidence: where its runs are listed."""

    row: Row
    model: str
    model_page: str
    system: str
    system_page: str
    setting: str
    speed: text.PlusMinus
    per_token: text.PlusMinus
    joules: text.PlusMinus
    power: str
    gain: str
    interval: bars.Interval | None
    runs: str
    reason: str
    evidence: str
    badges: tuple[tuple[str, str, str], ...]


class SectionView(NamedTuple):
    heading: str
    note: str
    rows: tuple[RowView, ...]


class TableView(NamedTuple):
    """Rows under headings, with one unit per column and one scale for all intervals."""

    sections: tuple[SectionView, ...]
    token_unit: str
    joule_unit: str
    scale: str
    units: str


class Site:
    """All pages of a site. Holds records and rows; traces are decoded one page at a time."""

    def __init__(self, loaded: Loaded, title: str, base_url: str | None, assets: Assets) -> None:
        self.loaded = loaded
        self.title = title
        self.base_url = base_url
        self.assets = assets
        self.rows = rows_of(loaded.entries)
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
            table=self.table(finding.sections(rows), rows),
            others=text.listed(others) if others else "",
        )

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
                        "table": self.table([finding.Section(c.name, "", c.rows, False) for c in long], [r for c in long for r in c.rows]),
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
        charts = [figures.rows_figure(rows, finding.short(name))] if any(row.j_per_token for row in rows) else []
        stacked = [row for row in primary if row.component == primary[0].component] if folder == "models" else []
        phases = figures.phases_figure(stacked) if stacked else None
        return self._render(
            "group.html",
            group_page(folder, name),
            title=finding.group_title(name, rows),
            name=text.shown(name, 200),
            folder=folder,
            facts=facts,
            table=self.table(finding.sections(rows), rows),
            charts=[*([phases] if phases is not None else []), *charts],
            settings=[self._setting(row, primary) for row in primary],
            failed=[self._run_line(entry) for entry in entries if isinstance(entry.record, Failed)],
        )

    def _of(self, folder: str, name: str) -> tuple[list[Row], list[Entry]]:
        pick = _model_name if folder == "models" else _system_name
        rows = [row for row in self.rows if (row.model if folder == "models" else row.system) == name]
        return rows, [entry for entry in self.loaded.entries if pick(entry) == name]

    def _setting(self, row: Row, among: Sequence[Row]) -> dict[str, Any]:
        lines = [self._run_line(entry) for entry in row.entries]
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
            "basis": _basis(row.j_per_token or row.tokens_per_s),
        }

    def _run_line(self, entry: Entry) -> dict[str, Any]:
        """A run in a list."""
        record = entry.record
        component = next(iter(components_of(record)), "")
        total = record.totals.get(component)
        per_token = joules_per_token(record, component)
        unit = text.unit_for([per_token])
        state = {Run: "", Failed: "failed", Published: "published"}[type(record)]
        return {
            "page": f"{entry.page}.html",
            "model": text.shown(record.model.name),
            "system": text.shown(record.system.name, 40),
            "units": text.count(record.system.threads, "thread", spell=False)
            if record.system.device == "cpu" and record.system.threads
            else text.count(record.system.devices_used, "device", spell=False)
            if record.system.devices_used
            else text.DASH,
            "when": (record.started_at or text.DASH)[:16].replace("T", " "),
            "repeat": record.repeat + 1 if isinstance(record, Run | Failed) else text.DASH,
            "load": text.shown(record.load.id, 14) if isinstance(record, Run | Failed) else text.DASH,
            "first": isinstance(record, Run | Failed) and record.load.first,
            "component": text.component_name(component) if component else "",
            "joules": text.plus_minus(total.joules, total.uncertainty_j)
            if total is not None
            else text.PlusMinus(text.DASH, ""),
            "per_token": text.number(None if per_token is None else per_token * unit.factor),
            "per_token_unit": f"{unit.prefix}J" if per_token is not None else "",
            "speed": text.number(tokens_per_s(record)),
            "power": text.number(power_w(record, component)),
            "reason": text.shown(total.reason, 120) if total is not None and total.reason else "",
            "source": "" if total is None or total.joules is None else text.source_name(total.source),
            "dummy": record.model.weights == "dummy",
            "state": state,
            "error": text.shown(record.error.message, 160) if isinstance(record, Failed) else "",
        }

    def _runs(self) -> str:
        lines = [self._run_line(entry) for entry in self.loaded.entries]
        return self._render("runs.html", "runs/index.html", title=text.sentence(self._counts()), lines=lines)

    def _run(self, entry: Entry) -> str:
        record = entry.record
        trace, why_no_trace = trace_of(record)
        power = figures.power_figure(record, trace) if trace is not None else None
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
            line=self._run_line(entry),
            subtitle=_subtitle(record, rows),
            badges=_badges(record, rows),
            model_page=group_page("models", record.model.name),
            system_page=group_page("systems", record.system.name),
            setting=f"{group_page('models', record.model.name)}#{anchor(rows[0])}" if rows else None,
            cards=[] if isinstance(record, Failed) and not record.totals else runview.cards(record, rows),
            power=power,
            no_trace=why_no_trace,
            legend=_legend(record),
            phases=table,
            evidence=runview.evidence(record, entry.file, entry.line),
            channels=runview.channel_rows(record),
            options=runview.options(record),
            facts=[*runview.facts_of_model(record), *runview.facts_of_system(record), *runview.facts_of_work(record)],
            command=record.command if isinstance(record, Run | Failed) else None,
            error=text.shown(record.error.message, 2000) if isinstance(record, Failed) else None,
            raw=runview.raw_json(record),
            json_name=f"{entry.page}.json",
        )

    def _health(self) -> str:
        flags: dict[str, list[Entry]] = {}
        missing: list[tuple[Entry, str]] = []
        for entry in self.loaded.entries:
            for flag in entry.record.flags:
                flags.setdefault(text.shown(flag, 80), []).append(entry)
            for name, total in sorted(entry.record.totals.items()):
                if total.joules is None:
                    missing.append(
                        (entry, f"{text.component_name(name)}: {text.shown(total.reason or 'no reason given', 200)}")
                    )
        few = [
            view for view in self._views(primary_rows(self.rows)) if view.row.runs < FEW_RUNS and not view.row.published
        ]
        return self._render(
            "health.html",
            "health.html",
            title=self._health_title(),
            bad=[(text.shown(line.file, 120), line.line, text.shown(line.why, 240)) for line in self.loaded.bad],
            failed=[self._run_line(entry) for entry in self.loaded.failed],
            flags=[(flag, [(e.page, finding.run_title(e.record)) for e in flags[flag]]) for flag in sorted(flags)],
            missing=[(e.page, finding.run_title(e.record), why) for e, why in missing],
            mismatches=[(e.page, finding.run_title(e.record), why) for e, why in self._mismatches],
            few=few,
        )

    def _health_title(self) -> str:
        bad, failed = len(self.loaded.bad), len(self.loaded.failed)
        if not bad and not failed:
            return "Every line was read, and no run failed"
        said = [f"{text.count(bad, 'line')} skipped"] if bad else []
        said += [f"{text.count(failed, 'run')} failed"] if failed else []
        return text.sentence(text.listed(said))

    def _sitemap(self) -> str:
        pages = sorted(page.path for page in self.pages() if page.path.endswith(".html"))
        urls = "".join(f"<url><loc>{Markup.escape(self.url(path))}</loc></url>\n" for path in pages)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            f"{urls}</urlset>\n"
        )

    def url(self, path: str) -> str:
        return f"{self.base_url}/{path}".removesuffix("index.html")

    def table(self, sections: Iterable[finding.Section], rows: Sequence[Row]) -> TableView:
        """The table of figures, in the order of its sections."""
        token = text.unit_for([row.j_per_token.mean for row in rows if row.j_per_token])
        joule = text.unit_for([row.joules.mean for row in rows if row.joules])
        scale = bars.scale_over((row.j_per_token, row.gain) for row in rows)
        names = telling(rows)
        views = tuple(
            SectionView(
                section.heading, section.note, tuple(_view(row, names, token, joule, scale) for row in section.rows)
            )
            for section in sections
        )
        kinds = {row.by_threads for row in rows if row.units is not None}
        units = "Threads" if kinds == {True} else "Devices" if kinds == {False} else "Devices or threads"
        return TableView(views, token.prefix + "J/token", joule.prefix + "J", scale.label if scale else "", units)

    def _views(self, rows: Sequence[Row]) -> list[RowView]:
        plain = text.Unit("", 1.0)
        return [_view(row, telling(rows), plain, plain, None) for row in rows]

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
            version=llmjoules.__version__,
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
    return env


def _data(value: Any) -> Markup:
    """JSON for a data block: no character that could end the block or begin a tag, and no NaN."""
    dumped = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _json(record: Record) -> str:
    return encode(record).decode("utf-8", "replace") + "\n"


def run_page(entry: Entry) -> str:
    return f"runs/{entry.page}.html"


def group_page(folder: str, name: str) -> str:
    return f"{folder}/{text.file_name(name, name)}.html"


def anchor(row: Row) -> str:
    return f"s-{row.key[:8]}"


def _model_name(entry: Entry) -> str:
    return entry.record.model.name


def _system_name(entry: Entry) -> str:
    return entry.record.system.name


def _view(row: Row, names: Sequence[str], token: text.Unit, joule: text.Unit, scale: bars.Scale | None) -> RowView:
    settings = [row.settings[name] for name in names if name in row.settings]
    return RowView(
        row=row,
        model=text.shown(row.model),
        model_page=group_page("models", row.model),
        system=text.shown(row.system),
        system_page=group_page("systems", row.system),
        setting=text.shown(", ".join(settings), 120),
        speed=_pm(row.tokens_per_s),
        per_token=_pm(row.j_per_token, token.factor),
        joules=_pm(row.joules, joule.factor),
        power=text.number(row.power_w.mean if row.power_w else None),
        gain=text.percent(row.gain) if row.gain else "",
        interval=bars.interval(row.j_per_token, row.gain, scale),
        runs=_runs_words(row),
        reason=text.shown(row.reason or "", 160),
        evidence=f"{group_page('models', row.model)}#{anchor(row)}",
        badges=_row_badges(row),
    )


def _pm(estimate: Estimate | None, factor: float = 1.0) -> text.PlusMinus:
    if estimate is None:
        return text.PlusMinus(text.DASH, "")
    return text.plus_minus(estimate.mean, estimate.half_width, factor)


def _runs_words(row: Row) -> str:
    if row.published:
        return text.DASH
    return text.digits(row.runs, 0) + (f" in {text.count(row.loads, 'load', spell=False)}" if row.loads else "")


def _basis(estimate: Estimate | None) -> str:
    if estimate is None:
        return "no figure"
    if estimate.basis == "one run":
        return "one run, so there is no interval"
    over = f"{estimate.loads} loads" if estimate.basis == "loads" else f"{estimate.runs} runs of one process"
    return f"± is taken over {over}" + (
        "" if estimate.basis == "loads" else ": what differs from load to load is not in it"
    )


def _row_badges(row: Row) -> tuple[tuple[str, str, str], ...]:
    """Class, text, and what the badge means."""
    badges = []
    if row.component:
        words = text.component_name(row.component) + (
            f" · {row.scope}" if row.scope and row.source == "measured" else ""
        )
        badges.append(("scope", words, "Which part of the machine, and how its energy was found"))
    badges += _source_badges(row.source if row.joules is not None else "measured", row.weights, row.published)
    if not row.published and row.runs < FEW_RUNS:
        badges.append(("warn", text.count(row.runs, "run", spell=False), f"Fewer than {FEW_RUNS} runs"))
    if 0 < row.with_energy < row.runs:
        badges.append(("warn", f"{row.with_energy} with energy", "The other runs have no joules, and say why"))
    if row.failed:
        badges.append(("warn", f"{row.failed} failed", "Runs of this setting that did not finish"))
    return tuple(badges)


def _source_badges(source: str, weights: str | None, published: bool) -> list[tuple[str, str, str]]:
    badges = []
    if source == "modelled":
        badges.append(("estimated", "estimated", "A model of the power, not a measurement"))
    if source == "simulated":
        badges.append(("simulated", "simulated", "A simulated meter: no device was read"))
    if weights == "dummy":
        badges.append(("dummy", "dummy weights", "Random numbers instead of trained weights"))
    if published:
        badges.append(("published", "published", "Taken from a paper or another tool"))
    return badges


def _badges(record: Record, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    if rows:
        return [badge for badge in _row_badges(rows[0]) if badge[0] != "warn"]
    source = next((total.source for total in record.totals.values()), "measured")
    failed = [("warn", "failed", "This run did not finish")] if isinstance(record, Failed) else []
    return [*failed, *_source_badges(source, record.model.weights, isinstance(record, Published))]


def _subtitle(record: Record, rows: Sequence[Row]) -> str:
    of = f" of {rows[0].runs}" if rows else ""
    words = [f"Run {record.repeat + 1}{of}" if isinstance(record, Run | Failed) else f"From {record.source}"]
    words += [record.model.dtype or "", f"batch {record.workload.batch_size}" if record.workload.batch_size else ""]
    words += [record.workload.decoding or "", (record.started_at or "")[:16].replace("T", " ")]
    return " · ".join(text.shown(word, 80) for word in words if word)


def _legend(record: Record) -> list[tuple[str, str, str]]:
    """Class, name and length of each band under the trace."""
    return [
        (f"p-{band.name.replace('+', '-')}", band.name.replace("+", " + "), text.seconds(band.end_s - band.start_s))
        for band in figures.bands(record.phases)
    ]
