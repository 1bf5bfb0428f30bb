"""What a request costs: E = fixed + a·n_in + b·n_out + c·(n_in·n_out + n_out²/2) + d·n_in², with intervals.

n_in and n_out are prompt and new tokens of a row, E the joules of one batch. c is what each decoded token pays for
each token before it (the sum over decoding of its context), d what attention within the prompt costs.

Noise grows with the energy, so points weigh 1/E² (E as fitted, iterated). A point is the mean of a load. The fit is
accepted on its error for settings that it has not seen, not on R²: without the squares, one of 0.999 goes with a fixed
cost of −28 J where 20 J is true (tests/records/test_fit.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from statistics import fmean

from msgspec import Struct

from llmjoules.records import stats
from llmjoules.records.cells import Cell, Repeat, load_of, telling
from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.leastsquares import Solution, solve
from llmjoules.records.student import critical

TERMS: dict[str, Callable[[float, float], float]] = {
    "fixed": lambda n_in, n_out: 1.0,  # noqa: ARG005
    "a": lambda n_in, n_out: n_in,  # noqa: ARG005
    "b": lambda n_in, n_out: n_out,  # noqa: ARG005
    "c": lambda n_in, n_out: n_in * n_out + n_out * n_out / 2,
    "d": lambda n_in, n_out: n_in * n_in,  # noqa: ARG005
}
MEANINGS = {
    "fixed": "J per request",
    "a": "J per prompt token",
    "b": "J per new token",
    "c": "J per new token and token before it",
    "d": "J per prompt token squared",
}
LENGTHS = ("prompt", "new-tokens", "text")  # in which the settings of one fit differ
ORDER_OF_DROPPING = ("d", "c", "a", "fixed")  # the smallest parts of most requests first; b is what is asked about
ALPHA = 0.05
MOST_INFLATED = 1000.0  # a coefficient whose variance the other terms inflate more is not identified
ACCEPTED = 0.10  # root mean square of the relative error for a setting left out


class Point(Struct, frozen=True):
    """The mean of one load at one setting; n_in and n_out may be means too, where answers end by themselves."""

    n_in: float
    n_out: float
    joules: float
    load: str


class Term(Struct, frozen=True, kw_only=True):
    name: str
    meaning: str
    value: float
    half_width: float


class HeldOut(Struct, frozen=True):
    """A setting predicted by a fit to the others. error: relative to what was measured there."""

    n_in: float
    n_out: float
    measured_j: float
    predicted_j: float
    error: float


class Fit(Struct, frozen=True, kw_only=True):
    """The coefficients with 95 % intervals. spread: relative standard deviation of a point round the model.

    basis: `loads` (each point is a process of its own) or `runs` (one process measured several settings, or all: what
    differs from load to load is not in the intervals, or not all of it).
    accepted: the error for settings left out is small enough and no coefficient is impossible; `notes` say why not.
    """

    terms: tuple[Term, ...]
    dropped: tuple[str, ...]
    covariance: tuple[tuple[float, ...], ...]
    degrees: int
    spread: float
    basis: str
    settings: int
    points: int
    measured_in: tuple[float, float]
    measured_out: tuple[float, float]
    held_out: tuple[HeldOut, ...]
    held_out_rms: float | None
    accepted: bool
    notes: tuple[str, ...]


class Prediction(Struct, frozen=True, kw_only=True):
    """half_width: of the mean energy of such requests. measured: do both numbers lie inside what was measured?"""

    n_in: float
    n_out: float
    joules: float
    half_width: float
    measured: bool


def grid() -> list[tuple[int, int]]:
    """(prompt tokens, new tokens) of the smallest study that identifies every term: three by three, far apart.

    Three lengths of the prompt for d, three of the answer to tell b from c, short ones for the fixed cost.
    """
    return [(n_in, n_out) for n_in in (16, 256, 1024) for n_out in (8, 64, 256)]


def points_of(runs: Iterable[Repeat], component: str) -> list[Point]:
    """One point per load and setting, from runs that have joules of the component."""
    groups: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
    for run in runs:
        joules, tokens = stats.joules(run, component), run.tokens
        rows, n_in, asked = run.workload.batch_size or 1, run.workload.prompt_tokens, run.workload.new_tokens
        if joules and tokens is not None and tokens.generated:
            n_out = tokens.generated / rows
            key = load_of(run), tokens.prompt // rows if n_in is None else n_in, asked or round(n_out)
            groups.setdefault(key, []).append((n_out, joules))
    return [
        Point(n_in, fmean(n_out for n_out, _ in group), fmean(joules for _, joules in group), load)
        for (load, n_in, _), group in groups.items()
    ]


def fit(points: Sequence[Point], terms: Sequence[str] = tuple(TERMS), *, reduce: bool = False) -> Fit:
    """Fit the terms. reduce: where the design cannot tell one from the others, drop it and say so.

    Raises LlmjoulesError, naming the term and what to measure, where the design cannot identify a term.
    """
    kept = [name for name in TERMS if name in terms]
    dropped: list[str] = []
    while (fault := _fault(points, kept)) is not None:
        name = next((term for term in ORDER_OF_DROPPING if term in kept and term in fault.suspects), None)
        if not reduce or name is None or len(kept) == 1:
            raise LlmjoulesError(fault.what, fault.why, fault.fix)
        kept.remove(name)
        dropped.append(name)
    found, covariance, spread = coefficients(points, kept)
    held_out = _held_out(points, kept)
    rms = sqrt(fmean([left.error**2 for left in held_out])) if held_out else None
    notes = [f"Dropped, since the settings do not tell it from the others: {', '.join(dropped)}."] if dropped else []
    faults = list(_doubts(found, rms))
    loads = [point.load for point in points]
    return Fit(
        terms=found,
        dropped=tuple(dropped),
        covariance=covariance,
        degrees=len(points) - len(kept),
        spread=spread,
        basis="loads" if len(set(loads)) == len(loads) else "runs",
        settings=len(_settings(points)),
        points=len(points),
        measured_in=(min(p.n_in for p in points), max(p.n_in for p in points)),
        measured_out=(min(p.n_out for p in points), max(p.n_out for p in points)),
        held_out=tuple(held_out),
        held_out_rms=rms,
        accepted=not faults,
        notes=(*notes, *faults, *_remarks(found)),
    )


def coefficients(
    points: Sequence[Point], terms: Sequence[str]
) -> tuple[tuple[Term, ...], tuple[tuple[float, ...], ...], float]:
    """The terms with t intervals, their covariance, and the relative standard deviation of points round the model."""
    solution = _iterated(points, terms)
    assert solution is not None
    degrees = len(points) - len(terms)
    spread = sqrt(solution.squares / degrees)
    widths = [critical(ALPHA, degrees) * spread * sqrt(solution.unscaled[j][j]) for j in range(len(terms))]
    found = tuple(
        Term(name=name, meaning=MEANINGS[name], value=value, half_width=half_width)
        for name, value, half_width in zip(terms, solution.coefficients, widths, strict=True)
    )
    return found, tuple(tuple(spread**2 * value for value in row) for row in solution.unscaled), spread


def predict(fitted: Fit, n_in: float, n_out: float) -> Prediction:
    row = [TERMS[term.name](n_in, n_out) for term in fitted.terms]
    variance = sum(x * y * fitted.covariance[i][j] for i, x in enumerate(row) for j, y in enumerate(row))
    inside = (
        fitted.measured_in[0] <= n_in <= fitted.measured_in[1]
        and fitted.measured_out[0] <= n_out <= fitted.measured_out[1]
    )
    return Prediction(
        n_in=n_in,
        n_out=n_out,
        joules=sum(x * term.value for x, term in zip(row, fitted.terms, strict=True)),
        half_width=critical(ALPHA, fitted.degrees) * sqrt(max(variance, 0.0)),
        measured=inside,
    )


class _Fault(Struct, frozen=True):
    what: str
    why: str
    fix: str
    suspects: tuple[str, ...]


def _fault(points: Sequence[Point], terms: Sequence[str]) -> _Fault | None:
    """Why these settings cannot identify these terms."""
    lengths = {"prompt": {s[0] for s in _settings(points)}, "new": {s[1] for s in _settings(points)}}
    needed = _levels(terms)
    blame: dict[str, tuple[str, ...]] = {"prompt": ("d", "a"), "new": ("c", "b")}
    for kind, suspects in blame.items():
        if len(lengths[kind]) < needed[kind]:
            blamed = next((term for term in suspects if term in terms), "b")
            known = ", ".join(f"{length:g}" for length in sorted(lengths[kind]))
            option = "prompts of {} tokens" if kind == "prompt" else "--new-tokens {}"
            example = "16, 256 and 1024" if kind == "prompt" else "8, 64 and 256"
            return _Fault(
                f"The settings cannot identify {blamed} ({MEANINGS[blamed]}).",
                f"Numbers of {kind} tokens: {known or 'none'}; it takes {needed[kind]}.",
                f"Measure {option.format(example)}; docs/statistics.md has the grid. Or fit less: --reduce",
                tuple(term for term in suspects if term in terms),
            )
    settings = len(_settings(points))
    if settings <= len(terms) or len(points) <= len(terms):
        last = next(term for term in (*ORDER_OF_DROPPING, "b") if term in terms)
        return _Fault(
            f"The settings cannot identify {last} ({MEANINGS[last]}).",
            f"{settings} settings for {len(terms)} terms: one more is needed, to see whether the form holds.",
            "Measure more combinations of prompt length and --new-tokens; docs/statistics.md has the grid.",
            tuple(terms),
        )
    solution = _iterated(points, terms)
    if solution is None:
        alike = tuple(term for term in ORDER_OF_DROPPING if term in terms)
        name, inflated = alike[0], "without limit"
    else:
        worst = max(range(len(terms)), key=lambda j: solution.inflation[j])
        if solution.inflation[worst] <= MOST_INFLATED:
            return None
        name, inflated = terms[worst], f"{solution.inflation[worst]:.0f} times"
        alike = tuple(t for t, f in zip(terms, solution.inflation, strict=True) if f > MOST_INFLATED)
    return _Fault(
        f"The settings cannot identify {name} ({MEANINGS[name]}).",
        f"The other terms do nearly the same at these settings: they inflate its variance {inflated}.",
        "Cross long prompts with short answers and short prompts with long ones; docs/statistics.md has the grid.",
        alike,
    )


def _levels(terms: Sequence[str]) -> dict[str, int]:
    """How many different lengths of the prompt and of the answer the terms need at least."""
    return {
        "prompt": 1 + ("a" in terms) + ("d" in terms),
        "new": 1 + ("b" in terms and ("fixed" in terms or "a" in terms)) + ("c" in terms and "a" not in terms),
    }


def _settings(points: Iterable[Point]) -> dict[tuple[float, float], list[Point]]:
    settings: dict[tuple[float, float], list[Point]] = {}
    for point in points:
        settings.setdefault((point.n_in, round(point.n_out)), []).append(point)
    return settings


def _iterated(points: Sequence[Point], terms: Sequence[str]) -> Solution | None:
    """The fit with weights from itself: three or four rounds, since the first weights are off by the noise only."""
    rows = [[TERMS[name](point.n_in, point.n_out) for name in terms] for point in points]
    values = [point.joules for point in points]
    level, solution = values, None
    for _ in range(10):
        solution = solve(rows, values, [1 / joules**2 for joules in level])
        if solution is None:
            return None
        fitted = [sum(x * k for x, k in zip(row, solution.coefficients, strict=True)) for row in rows]
        # not below a tenth of what was measured, where a bad fit would give its point all the weight
        before, level = level, [max(joules, 0.1 * value) for joules, value in zip(fitted, values, strict=True)]
        if all(abs(now - then) <= 1e-6 * then for now, then in zip(level, before, strict=True)):
            break
    return solution


def _held_out(points: Sequence[Point], terms: Sequence[str]) -> list[HeldOut]:
    """Each setting predicted from the others, where they identify the terms without it."""
    found = []
    settings = _settings(points)
    for (n_in, n_out), group in settings.items():
        rest = [point for key, others in settings.items() if key != (n_in, n_out) for point in others]
        solution = _iterated(rest, terms) if len(rest) >= len(terms) else None
        if solution is None:
            continue
        n_mean, measured = fmean(point.n_out for point in group), fmean(point.joules for point in group)
        row = [TERMS[name](n_in, n_mean) for name in terms]
        predicted = sum(x * k for x, k in zip(row, solution.coefficients, strict=True))
        found.append(HeldOut(n_in, n_out, measured, predicted, predicted / measured - 1))
    return found


def _doubts(terms: Sequence[Term], rms: float | None) -> Iterable[str]:
    """Why the fit is not accepted."""
    if rms is None:
        yield "Not accepted: no setting can be left out, so nothing shows that the form holds."
    elif rms > ACCEPTED:
        limit = f"{100 * ACCEPTED:.0f} %"
        yield f"Not accepted: settings left out are missed by {100 * rms:.2g} % (root mean square), more than {limit}."
    for term in terms:
        if term.value + term.half_width < 0:
            yield f"Not accepted: {term.name} is negative beyond its interval, which nothing can cost."


def _remarks(terms: Sequence[Term]) -> Iterable[str]:
    for term in terms:
        if abs(term.value) <= term.half_width:
            yield f"{term.name} is not told apart from zero."


class Fitted(Struct, frozen=True, kw_only=True):
    """The fit of one model on one system in one batch size, for one component; or why there is none."""

    title: str
    component: str
    source: str
    fit: Fit | None
    refused: str | None
    predictions: tuple[Prediction, ...] = ()


def fits(
    cells: Sequence[Cell],
    terms: Sequence[str] = tuple(TERMS),
    *,
    reduce: bool = False,
    predictions: Sequence[tuple[float, float]] = (),
) -> list[Fitted]:
    """Fit cells that differ in nothing but prompt and number of tokens together.

    Raises LlmjoulesError where nothing can be fitted: that of the first group.
    """
    groups: dict[tuple[str | None, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(value for key, value in cell.settings.items() if key not in LENGTHS), []).append(cell)
    keys = [key for key in telling(cells) if key not in LENGTHS]
    found: list[Fitted] = []
    errors: list[LlmjoulesError] = []
    for group in groups.values():
        runs = [run for cell in group for run in cell.runs]
        totals = [(name, total.source) for run in runs for name, total in run.totals.items()]
        for component, source in dict.fromkeys(totals):
            same = [run for run in runs if component in run.totals and run.totals[component].source == source]
            title = group[0].title(keys)
            try:
                made = fit(points_of(same, component), terms, reduce=reduce)
            except LlmjoulesError as error:
                errors.append(error)
                found.append(Fitted(title=title, component=component, source=source, fit=None, refused=str(error)))
            else:
                asked = tuple(predict(made, *numbers) for numbers in predictions)
                found.append(
                    Fitted(title=title, component=component, source=source, fit=made, refused=None, predictions=asked)
                )
    if not any(row.fit is not None for row in found):
        raise errors[0] if errors else LlmjoulesError("Nothing to fit.", "No run has a figure of energy.")
    return found
