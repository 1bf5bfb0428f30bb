"""The command line: parse, call one function, print. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from llmjoules import __version__
from llmjoules.records.errors import LlmjoulesError

if TYPE_CHECKING:
    from pathlib import Path

    from llmjoules.records.cells import Cell
    from llmjoules.records.record import Run
    from llmjoules.runner.settings import Plan

FINE, NO, WRONG_USE, SOME_FAILED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal gets a question mark instead of a crash
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except LlmjoulesError as error:
        print(error, file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("Stopped; what was finished is kept.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); keep Python from complaining about it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except PermissionError as error:
        if error.filename is None:
            raise
        print(_denied(error), file=sys.stderr)
        return WRONG_USE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("The output cannot be written.\nWhy: no space is left.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG_USE


def _denied(error: PermissionError) -> LlmjoulesError:
    """Wherever a file or folder that a user named is looked at: only users can open it to themselves."""
    return LlmjoulesError(f"Cannot use {error.filename}.", f"{error.strerror}.", "Ask for permission on it.")


def _terminate(*_: object) -> NoReturn:
    print("Stopped; what was finished is kept.", file=sys.stderr)
    raise SystemExit(TERMINATED)


class _Parser(argparse.ArgumentParser):
    """One that answers a mistake in two lines instead of printing all its options."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{message[:1].upper()}{message[1:]}.\nDo:  {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="llmjoules", description="Measure the energy of language model inference.")
    parser.add_argument("--version", action="version", version=f"llmjoules {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    adders = (
        _add_measure,
        _add_meters,
        _add_doctor,
        _add_build_site,
        _add_demo,
        _add_import,
        _add_export,
        _add_compare,
        _add_check,
        _add_fit,
        _add_schema,
    )
    for add in adders:
        add(commands)
    return parser


def _add_measure(commands: Any) -> None:
    parser = commands.add_parser("measure", help="measure a model phase by phase and store a record of each run")
    parser.set_defaults(command=_measure)
    parser.add_argument(
        "--model",
        metavar="NAME|PATH|dummy:ARCH",
        help="a hub name, a folder, smollm2, or dummy:llama-tiny …; with --study, several with commas",
    )
    parser.add_argument(
        "--study", metavar="FILE|paper", help="a study's TOML file; what is done of it already in --out is left out"
    )
    parser.add_argument("--ab", action="store_true", help="the two cells of a study take turns and are compared")
    _add_meter_options(parser)
    parser.set_defaults(meter=None)
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help="what the model reads (default: a question about heat)")
    prompt.add_argument("--prompts", metavar="FILE", help="a text file with one prompt a line: the rows of the batch")
    parser.add_argument("--new-tokens", type=int, metavar="N", help="new tokens per row, exactly (default 200)")
    parser.add_argument(
        "--prompt-tokens", type=int, metavar="N", help="a prompt of so many tokens, made for the model's tokenizer"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="rows of the batch (default: the number of prompts)")
    parser.add_argument(
        "--repeats", type=_repeats, metavar="N|auto", help="runs (default 25); auto: until J/token is known"
    )
    parser.add_argument("--precision", metavar="N%", help="± at which --repeats auto stops (default 2%%)")
    parser.add_argument(
        "--loads", type=int, metavar="N", help="fresh processes they are dealt over (default 5; auto: one a run)"
    )
    parser.add_argument("--devices", type=_numbers, metavar="N[,N…]", help="GPUs; each number is a rung of its own")
    parser.add_argument(
        "--strategy",
        choices=("single", "device-map", "tensor-parallel", "replicas"),
        help="how a model lies on several GPUs (default device-map)",
    )
    parser.add_argument(
        "--threads", type=_numbers, metavar="N[,N…]", help="CPU threads; each number is a rung of its own"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), help="default auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "float16", "bfloat16"), help="of the weights")
    parser.add_argument("--decoding", choices=("greedy", "sample"), help="default greedy")
    parser.add_argument(
        "--stop",
        choices=("new-tokens", "end-of-sequence"),
        help="end-of-sequence: --new-tokens is only the most (default: exactly as many)",
    )
    parser.add_argument(
        "--materialize", action="store_true", help="read every weight while loading, not when first used"
    )
    parser.add_argument(
        "--warm-up",
        type=_repeats,
        metavar="N|auto",
        help="discarded short runs after loading; auto (default): until the last three agree",
    )
    parser.add_argument("--idle", type=float, metavar="SECONDS", help="idle before and after each run (default 1)")
    parser.add_argument(
        "--cool-down",
        type=float,
        metavar="SECONDS",
        help="the longest wait, before each run, for devices to be as cool as before the first (default 10)",
    )
    parser.add_argument(
        "--replay",
        action="store_true",
        help="also prefill and decode steps over and over, for phases too short for a meter",
    )
    parser.add_argument(
        "--page-cache", choices=("as-is", "drop"), help="drop: weight files are put out of memory before loading"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of sampling (default 0)")
    parser.add_argument(
        "--system", metavar="NAME", help="what pages call this machine (default: its accelerator or CPU)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be run, and run nothing")
    parser.add_argument("--out", default="results", metavar="DIR", help="where the record file goes (default results/)")


def _add_meter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--meter", default="auto", metavar="auto|NAME,…", help="see llmjoules meters (default auto)")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="a meter of your own; repeatable"
    )
    _add_option_of_meters(parser)


def _add_option_of_meters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--meter-option", action="append", default=[], metavar="NAME.KEY=VALUE", help="an option of a meter; repeatable"
    )


def _add_meters(commands: Any) -> None:
    parser = commands.add_parser("meters", help="every meter: where it comes from, and whether it can be used here")
    parser.set_defaults(command=_meters)
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="a meter of your own; repeatable"
    )
    _add_option_of_meters(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="what each meter here is worth: tick, step response, agreement, cost")
    parser.set_defaults(command=_doctor)
    _add_meter_options(parser)
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="N", help="watch each of three stretches so long (default 3)"
    )
    parser.add_argument(
        "--load", choices=("auto", "none"), default="auto", help="none: make no step of load (default auto)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_build_site(commands: Any) -> None:
    parser = commands.add_parser("build-site", help="turn results into a static site")
    parser.set_defaults(command=_build_site)
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="files of JSON lines, or folders of them")
    parser.add_argument("--out", required=True, metavar="DIR", help="the site's folder")
    parser.add_argument("--base-url", metavar="URL", help="where it will be served; only for canonical links")
    parser.add_argument("--title", help="of the site")
    parser.add_argument(
        "--config", metavar="FILE", help="title, notes and limits of the site (default site.toml in or beside RESULTS)"
    )
    parser.add_argument("--templates", metavar="DIR", help="your own templates, which go before ours: docs/site.md")
    parser.add_argument("--strict", action="store_true", help="fail on any bad line instead of skipping it")
    parser.add_argument("--plotly-js", metavar="FILE", help="a Plotly bundle to use instead of the installed package's")
    parser.add_argument(
        "--max-run-pages", type=int, default=5000, metavar="N", help="runs with a page of their own (default 5000)"
    )


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser("demo", help="measure two small models here and build a site from it")
    parser.set_defaults(command=_demo)
    parser.add_argument("--out", default="demo", metavar="DIR", help="for results and site (default demo/)")


def _add_import(commands: Any) -> None:
    parser = commands.add_parser(
        "import",
        help="read other tools' measurement files as published records",
        description="Formats: energy-inference, ml-energy, ml-energy-v2, codecarbon, optimum-benchmark, mlperf-power, "
        "zeus, aiperf, csv (any table, with a mapping), llmjoules, and those of plug-ins. See docs/import.md.",
    )
    parser.set_defaults(command=_import)
    parser.add_argument("format", metavar="FORMAT", help="of the files; a wrong one is answered with the likely one")
    parser.add_argument("files", nargs="+", metavar="FILE", help="plain or .gz")
    parser.add_argument("--out", default="results", metavar="DIR", help="where the record file goes (default results/)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="what the files do not say, such as model=NAME"
    )
    parser.add_argument(
        "--unit", action="append", default=[], metavar="COLUMN=UNIT", help="confirm that a heading names a wrong unit"
    )
    parser.add_argument("--by", metavar="NAME", help="who confirms it, as records shall say")
    parser.add_argument("--strict", action="store_true", help="fail on any bad line instead of skipping it")


def _add_export(commands: Any) -> None:
    parser = commands.add_parser("export", help="results for other programs: a table, JSON lines, or a model card")
    parser.set_defaults(command=_export)
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="files of JSON lines, or folders of them")
    parser.add_argument(
        "--format",
        required=True,
        choices=("csv", "parquet", "jsonl", "model-card"),
        help="csv and parquet: a row for each energy",
    )
    parser.add_argument("--out", metavar="FILE", help="where to write it (default: standard output)")
    parser.add_argument("--model", metavar="NAME", help="only the records of this model")
    parser.add_argument("--strict", action="store_true", help="fail on any bad line instead of skipping it")


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser("compare", help="is B cheaper than A? difference, interval, verdict")
    parser.set_defaults(command=_compare)
    for name in ("a", "b"):
        parser.add_argument(
            name, metavar=name.upper(), help="results, or some of them: RESULTS#MODEL, RESULTS#dtype=bfloat16,threads=2"
        )
    parser.add_argument(
        "--anyway", action="store_true", help="also set unlike components or sources against each other"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_check(commands: Any) -> None:
    parser = commands.add_parser("check", help="exit 1 if energy rose significantly over a baseline")
    parser.set_defaults(command=_check)
    parser.add_argument("results", metavar="RESULTS", help="results, or some of them: RESULTS#KEY=VALUE,…")
    parser.add_argument("--baseline", required=True, metavar="FILE", help="the results to hold them against")
    parser.add_argument(
        "--max-rise", type=_percent, default=0.03, metavar="N%", help="of J per output token (default 3%%)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--markdown", action="store_true", help="a table for a pull request")


def _add_fit(commands: Any) -> None:
    parser = commands.add_parser("fit", help="what a prompt token and a new token cost, with intervals")
    parser.set_defaults(command=_fit)
    parser.add_argument("results", metavar="RESULTS", help="results, or some of them: RESULTS#KEY=VALUE,…")
    parser.add_argument("--reduce", action="store_true", help="drop terms that the settings cannot identify")
    parser.add_argument(
        "--predict",
        action="append",
        type=_two_numbers,
        default=[],
        metavar="IN,OUT",
        help="energy of a request with so many prompt and new tokens; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_schema(commands: Any) -> None:
    parser = commands.add_parser("schema", help="print the JSON Schema of a record")
    parser.set_defaults(command=_schema)


def _measure(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    plan = _study_plan(arguments) if arguments.study is not None else _plan(arguments)
    out = Path(arguments.out)
    return _dry_run(plan, out) if arguments.dry_run else _run(plan, out)


def _plan(arguments: argparse.Namespace) -> Plan:
    from pathlib import Path

    from llmjoules.runner.settings import DEFAULT_PROMPT, Settings, make_plan, read_prompts

    if arguments.model is None:
        raise LlmjoulesError("Nothing to measure.", "No model is named.", "Name one: --model NAME, or --study FILE")
    if arguments.ab:
        raise LlmjoulesError("--ab needs a study.", "It compares its two cells.", "Name one: --study FILE --ab")
    prompt = DEFAULT_PROMPT if arguments.prompt is None else arguments.prompt
    settings = Settings(
        model=arguments.model,
        prompts=read_prompts(Path(arguments.prompts)) if arguments.prompts is not None else (prompt,),
        prompts_file=arguments.prompts,
        **_said(arguments, PLAIN),
    )
    return make_plan(
        settings,
        batch=arguments.batch,
        repeats=25 if arguments.repeats is None else arguments.repeats,
        precision="2%" if arguments.precision is None else arguments.precision,
        loads=arguments.loads,
        threads=arguments.threads,
        devices=arguments.devices,
    )


def _study_plan(arguments: argparse.Namespace) -> Plan:
    from llmjoules.runner.study import plan_of, read_study

    given = _said(arguments, PLAIN | {"idle": None, "cool_down": None} | dict.fromkeys(STUDY))
    if arguments.model is not None:
        given["models"] = tuple(name for name in arguments.model.split(",") if name)
    return plan_of(read_study(arguments.study, given), ab=arguments.ab)


# Options of measure that are fields of runner.settings.Settings, by the name of the field where that is another.
PLAIN: dict[str, str | None] = {
    "new_tokens": None,
    "prompt_tokens": None,
    "stop": None,
    "decoding": None,
    "dtype": None,
    "device": None,
    "strategy": None,
    "materialize": None,
    "warm_up": None,
    "idle": "idle_s",
    "cool_down": "cool_down_s",
    "replay": None,
    "page_cache": None,
    "seed": None,
    "meter": "meters",
    "meter_option": "meter_options",
    "plugin": "plugins",
    "system": None,
}
STUDY = ("prompt", "prompts", "batch", "threads", "devices", "repeats", "precision", "loads")  # and of a study alone


def _said(arguments: argparse.Namespace, names: dict[str, str | None]) -> dict[str, Any]:
    """What the command line says of these, and nothing where it is silent: then a study or a default decides."""
    found = {field or name: getattr(arguments, name) for name, field in names.items()}
    if found.get("meters") is not None:
        found["meters"] = tuple(name for name in found["meters"].split(",") if name)
    for name, made in (("meter_options", _options), ("plugins", tuple)):
        found[name] = made(found[name]) if found.get(name) else None
    found |= {name: found[name] or None for name in ("materialize", "replay")}  # a flag that is not set says nothing
    return {name: value for name, value in found.items() if value is not None}


def _dry_run(plan: Plan, out: Path) -> int:
    from llmjoules.console import planned, stdout
    from llmjoules.runner.api import check_plan
    from llmjoules.runner.preview import preview

    for part in planned(preview(check_plan(plan), out)):
        stdout().print(part)
    return FINE


def _run(plan: Plan, out: Path) -> int:
    from llmjoules.console import gains, stdout, stopped, summary, watching
    from llmjoules.protocol import lines
    from llmjoules.records.record import Failed, Run
    from llmjoules.runner.api import run_plan
    from llmjoules.runner.resume import before

    records = list(before(out, plan.study).done) if plan.study is not None else []
    with watching(plan, len(records)) as watch:
        for record in run_plan(plan, out, None, watch):
            records.append(record)
            watch.finished(record)
    finished = [record for record in records if isinstance(record, Run)]
    if finished:
        for part in summary(finished):
            stdout().print(part)
        for line in (*gains(finished), *stopped(finished), *lines(finished)):
            stdout().print(line, markup=False)
    if plan.ab:
        _print_comparison(plan, finished)
    failed = sum(isinstance(record, Failed) for record in records)
    planned = len(records) if plan.precision is not None else plan.runs
    stdout().print(f"{len(finished)} of {planned} runs finished; results in {out}/")
    return SOME_FAILED if failed or len(finished) < planned else FINE


def _print_comparison(plan: Plan, finished: Sequence[Run]) -> None:
    """The verdict on two cells that took turns, after as many blocks as were planned and not before."""
    from llmjoules import reports
    from llmjoules.console import stdout
    from llmjoules.records.cells import cells_of
    from llmjoules.records.compare import compare

    by_cell = {name: cells_of(run for run in finished if run.cell == name) for name in (c.cell for c in plan.cells)}
    sides = list(by_cell.values())
    if all(sides):
        for comparison in compare(*sides)[0]:
            for part in reports.comparison(comparison):
                stdout().print(part, markup=False)


def _meters(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from llmjoules.console import stderr, stdout, table
    from llmjoules.meters.listing import list_meters

    listed, faults = list_meters([Path(plugin) for plugin in arguments.plugin], _options(arguments.meter_option))
    if arguments.json:
        import json

        rows = [meter._asdict() for meter in listed]
        print(json.dumps({"meters": rows, "faults": [fault._asdict() for fault in faults]}, indent=2))
        return FINE
    stdout().print(table(("Meter", "From", "Usable", "What it measures, or why it cannot"), [m.row() for m in listed]))
    for fault in faults:
        stderr().print(f"Left out: {fault}", markup=False)
    return FINE


def _doctor(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from llmjoules.console import doctor, stderr, stdout
    from llmjoules.meters.doctor import examine
    from llmjoules.meters.doctor_report import as_json

    report = examine(
        [name for name in arguments.meter.split(",") if name],
        plugins=[Path(plugin) for plugin in arguments.plugin],
        options=_options(arguments.meter_option),
        seconds=arguments.seconds,
        load=arguments.load,
        progress=lambda line: stderr().print(f"{line} …", style="dim", markup=False),
    )
    if arguments.json:
        import json

        print(json.dumps(as_json(report), indent=2))
    else:
        for part in doctor(report):
            stdout().print(part, soft_wrap=False)
            stdout().print()
    return FINE if report.ok else NO


def _build_site(arguments: argparse.Namespace) -> int:
    from llmjoules.console import building, stdout
    from llmjoules.sitegen.build import build_site

    with building() as progress:
        report = build_site(
            arguments.results,
            arguments.out,
            base_url=arguments.base_url,
            title=arguments.title,
            strict=arguments.strict,
            plotly_js=arguments.plotly_js,
            max_run_pages=arguments.max_run_pages,
            config=arguments.config,
            templates=arguments.templates,
            on_bad=lambda bad: print(f"Skipped {bad}", file=sys.stderr),
            progress=progress,
        )
    others = [(report.failed, "failed"), (report.published, "published")]
    counted = ", ".join([f"{report.runs} runs", *(f"{number} {kind}" for number, kind in others if number)])
    stdout().print(f"{counted}, {len(report.bad)} bad lines skipped, {report.pages} pages: {report.index}")
    return FINE


def _demo(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from llmjoules.console import building, stdout
    from llmjoules.runner.demo import demo_plans
    from llmjoules.sitegen.build import build_site
    from llmjoules.sitegen.folder import checked

    folder = Path(arguments.out)
    checked(folder / "site")  # before minutes of measuring, not after
    codes = [_run(plan, folder / "results") for plan in demo_plans()]
    with building() as progress:
        report = build_site([folder / "results"], folder / "site", title="llmjoules demo", progress=progress)
    stdout().print(f"The site: {report.index.resolve()}")
    return max(codes)


def _import(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from llmjoules.console import importing, stdout
    from llmjoules.records.importers.importing import import_files
    from llmjoules.records.importers.types import Units

    pairs = {option: _pairs(option, getattr(arguments, option)) for option in ("set", "unit")}
    by = {"by": f"{arguments.by}, with --unit"} if arguments.by else {}
    report = import_files(
        arguments.format,
        [Path(file) for file in arguments.files],
        Path(arguments.out),
        settings=pairs["set"],
        units=Units(pairs["unit"], **by),
        strict=arguments.strict,
        on_bad=lambda bad: print(f"Skipped {bad}", file=sys.stderr),
    )
    for line in importing(report):
        stdout().print(line, markup=False, highlight=False)
    there = f", {report.there} already there" if report.there else ""
    stdout().print(f"{report.new} new{there}, {report.bad} bad lines skipped; results in {arguments.out}/")
    return FINE


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` words; the name may hold an equals sign, the value not."""
    pairs = {}
    for word in words:
        name, equals, value = word.rpartition("=") if option == "unit" else word.partition("=")
        if not (name and equals and value):
            raise LlmjoulesError(f"Bad --{option} {word!r}.", "It is not NAME=VALUE.", "See llmjoules import --help")
        pairs[name] = value
    return pairs


def _export(arguments: argparse.Namespace) -> int:
    from contextlib import nullcontext
    from pathlib import Path

    from llmjoules.records.export import export, output

    if arguments.out is None and arguments.format == "parquet":
        raise LlmjoulesError("Parquet is not for a terminal.", "It is not text.", "Name a file: --out FILE")
    out = nullcontext(sys.stdout.buffer) if arguments.out is None else output(Path(arguments.out), arguments.results)
    with out as stream:
        export(
            arguments.results,
            arguments.format,
            stream,
            model=arguments.model,
            strict=arguments.strict,
            on_bad=lambda bad: print(f"Skipped {bad}", file=sys.stderr),
        )
    return FINE


def _compare(arguments: argparse.Namespace) -> int:
    from llmjoules import reports
    from llmjoules.console import stdout
    from llmjoules.records.compare import compare

    found, alone = compare(_cells(arguments.a), _cells(arguments.b), anyway=arguments.anyway)
    if arguments.json:
        print(reports.as_json({"comparisons": found, "without_partner": alone}))
        return FINE
    for number, comparison in enumerate(found):
        if number:
            stdout().print()
        for part in reports.comparison(comparison):
            stdout().print(part, markup=False)
    for title in alone:
        stdout().print(f"Without a partner: {title}", markup=False)
    return FINE


def _check(arguments: argparse.Namespace) -> int:
    from llmjoules import reports
    from llmjoules.console import stdout
    from llmjoules.records.compare import check, compare

    comparisons, alone = compare(_cells(arguments.baseline), _cells(arguments.results), same_settings=True)
    checked = check(comparisons, arguments.max_rise)
    rises = sum(row.outcome == "rise" for row in checked)
    judged = sum(row.outcome in ("rise", "fine") for row in checked)
    if arguments.json:
        print(reports.as_json({"rises": rises, "judged": judged, "checks": checked, "without_partner": alone}))
    elif arguments.markdown:
        print(reports.checks_as_markdown(checked))
    else:
        stdout().print(reports.checks(checked))
        for line in reports.check_notes(comparisons, alone):
            stdout().print(line, markup=False)
    if not judged:
        print("Nothing could be judged.", file=sys.stderr)
        return WRONG_USE
    return NO if rises else FINE


def _fit(arguments: argparse.Namespace) -> int:
    from llmjoules import reports
    from llmjoules.console import stdout
    from llmjoules.records.fit import fits

    found = fits(_cells(arguments.results), reduce=arguments.reduce, predictions=arguments.predict)
    if arguments.json:
        print(reports.as_json({"fits": found}))
    else:
        for number, row in enumerate(found):
            if number:
                stdout().print()
            for part in reports.fitted(row):
                stdout().print(part, markup=False)
    return FINE if all(row.fit is not None and row.fit.accepted for row in found) else NO


def _cells(selection: str) -> list[Cell]:
    from llmjoules.records.cells import Selection

    return Selection.parse(selection).cells(lambda bad: print(f"Skipped {bad}", file=sys.stderr))


def _schema(_: argparse.Namespace) -> int:
    import json

    from llmjoules.records.record import json_schema

    print(json.dumps(json_schema(), indent=2))
    return FINE


def _repeats(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,2") from None


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not text.endswith("%") or not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 3%")
    return value


def _two_numbers(text: str) -> tuple[int, int]:
    numbers = _numbers(text)
    if len(numbers) != 2 or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 500,200")
    return numbers[0], numbers[1]


def _options(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`NAME.KEY=VALUE` words as options by meter; a value is JSON where it can be, else text."""
    import json

    options: dict[str, dict[str, Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        meter, dot, key = name.partition(".")
        if not (equals and dot and meter and key):
            raise LlmjoulesError(
                f"Bad --meter-option {word!r}.", "It is not NAME.KEY=VALUE.", "For example: estimate.tdp_w=65"
            )
        try:
            options.setdefault(meter, {})[key] = json.loads(text)
        except ValueError:
            options.setdefault(meter, {})[key] = text
    return options
