"""The cost model: coefficients with known truth, designs that cannot tell, and forms that do not hold."""

from __future__ import annotations

import re
from math import sqrt

import numpy as np
import pytest

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.fit import TERMS, Point, coefficients, fit, grid, points_of, predict
from llmjoules.records.leastsquares import solve
from llmjoules.records.record import Tokens, Workload
from tests.builders import make_run

TRUTH = {"fixed": 20.0, "a": 0.1, "b": 3.0, "c": 1e-3, "d": 5e-5}
STUDIES = 1000
Setting = tuple[int, int]


def joules(n_in: float, n_out: float) -> float:
    """Written out once more, with the sum over decoding of the tokens before each: n_in·n_out + n_out²/2."""
    return 20.0 + 0.1 * n_in + 3.0 * n_out + 1e-3 * (n_in * n_out + n_out**2 / 2) + 5e-5 * n_in**2


def study(rng: np.random.Generator, noise: float, loads: int = 3, settings: list[Setting] | None = None) -> list[Point]:
    return [
        Point(i, o, joules(i, o) * (1 + rng.normal(0, noise)), f"{i}-{o}-{load}")
        for i, o in settings or grid()
        for load in range(loads)
    ]


def test_without_noise_the_coefficients_are_the_true_ones() -> None:
    found = fit(study(np.random.default_rng(0), 0.0))
    assert {term.name: term.value for term in found.terms} == pytest.approx(TRUTH, rel=1e-8)
    assert found.held_out_rms == pytest.approx(0.0, abs=1e-9)
    assert found.accepted
    assert predict(found, 500, 200).joules == pytest.approx(joules(500, 200))


def test_least_squares_are_those_of_numpy() -> None:
    rng = np.random.default_rng(1)
    x, y, w = rng.normal(0, 1, (12, 4)) * [1, 1e3, 1e-3, 1e6], rng.normal(0, 1, 12), rng.uniform(0.1, 9, 12)
    found = solve(x.tolist(), y.tolist(), w.tolist())
    assert found is not None
    root = np.sqrt(w)
    expected, squares, *_ = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)
    assert found.coefficients == pytest.approx(expected.tolist(), rel=1e-9)
    assert found.squares == pytest.approx(squares[0])
    assert np.array(found.unscaled) == pytest.approx(np.linalg.inv(x.T @ (x * w[:, None])), rel=1e-7)
    assert solve([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], [1.0, 2.0, 4.0], [1.0] * 3) is None


def test_intervals_of_the_coefficients_cover_the_truth() -> None:
    """Each in 93 to 97 % of studies, give or take two standard errors of a share seen in a thousand (1.4 points)."""
    rng = np.random.default_rng(2)
    covered = dict.fromkeys(TRUTH, 0)
    for _ in range(STUDIES):
        terms, *_ = coefficients(study(rng, 0.02, loads=2), tuple(TERMS))
        for term in terms:
            covered[term.name] += abs(term.value - TRUTH[term.name]) <= term.half_width
    for name, count in covered.items():
        assert 0.93 - 0.014 <= count / STUDIES <= 0.97 + 0.014, name


def test_predictions_cover_the_truth_and_say_when_they_leave_what_was_measured() -> None:
    rng = np.random.default_rng(3)
    found = [predict(fit(study(rng, 0.02)), 500, 200) for _ in range(50)]
    covered = sum(abs(at.joules - joules(500, 200)) <= at.half_width for at in found)
    assert covered >= 50 * 0.95 - 3 * sqrt(50 * 0.05 * 0.95)
    fitted = fit(study(rng, 0.02))
    assert predict(fitted, 1024, 256).measured
    assert not predict(fitted, 1025, 200).measured
    assert not predict(fitted, 500, 4).measured


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([(16, o) for o in (8, 64, 128, 256, 300, 400)], "cannot identify d.*Numbers of prompt tokens: 16; it takes 3"),
        ([(i, o) for i in (16, 256) for o in (8, 64, 256)], "cannot identify d.*16, 256; it takes 3"),
        ([(i, 64) for i in (16, 64, 256, 512, 700, 1024)], "cannot identify c.*Numbers of new tokens: 64; it takes 2"),
        ([(16, 8), (256, 64), (1024, 256), (16, 256), (1024, 8)], "5 settings for 5 terms"),
        ([(i, i // 4) for i in (16, 64, 256, 512, 700, 1024)], "cannot identify .*The other terms do nearly the same"),
    ],
)
def test_a_design_that_cannot_identify_a_term_is_refused_with_what_to_measure(
    settings: list[Setting], said: str
) -> None:
    with pytest.raises(LlmjoulesError) as refused:
        fit(study(np.random.default_rng(4), 0.01, settings=settings))
    assert re.search(said, str(refused.value), re.DOTALL), refused.value
    assert "Do:" in str(refused.value)


def test_terms_are_dropped_only_when_asked_and_it_is_said() -> None:
    found = fit(
        study(np.random.default_rng(5), 0.01, settings=[(i, o) for i in (16, 256) for o in (8, 64, 256)]), reduce=True
    )
    assert found.dropped == ("d",)
    assert [term.name for term in found.terms] == ["fixed", "a", "b", "c"]
    assert "Dropped" in found.notes[0]


def test_a_form_that_does_not_hold_is_not_accepted() -> None:
    """A server that pads every answer to 256 tokens: the fit of it is fine to the eye, and wrong where it was not."""
    padded = [Point(i, o, joules(i, 256 if o > 8 else 8), f"{i}{o}{k}") for i, o in grid() for k in range(2)]
    found = fit(padded)
    assert not found.accepted
    assert any("left out" in note for note in found.notes)


def test_a_high_r_squared_is_no_sign_of_a_form_that_holds() -> None:
    """Why fits are judged by settings left out: without the squares, and unweighted, R² is above 0.999."""
    settings = [(i, o) for i in (16, 256, 1024) for o in (8, 64, 256, 1024)]
    x = np.array([[1, i, o, i * o] for i, o in settings], float)
    y = np.array([joules(i, o) for i, o in settings])
    found, *_ = np.linalg.lstsq(x, y, rcond=None)
    left = y - x @ found
    assert 1 - left @ left / ((y - y.mean()) @ (y - y.mean())) > 0.999
    assert found[0] == pytest.approx(-28, abs=1)  # where 20 is true
    assert max(abs(left / y)) > 0.5


def test_a_fixed_cost_that_cannot_be_is_told() -> None:
    below = [Point(i, o, joules(i, o) - 40 + 0.1 * k, f"{i}{o}{k}") for i, o in grid() if o > 8 for k in range(2)]
    more = [Point(i, 128, joules(i, 128) - 40 + 0.1 * k, f"{i}{k}") for i in (16, 256, 1024) for k in range(2)]
    found = fit(below + more)
    assert found.terms[0].value < 0
    assert not found.accepted
    assert any("fixed is negative" in note for note in found.notes)


def test_points_are_means_of_loads_per_row_of_the_batch() -> None:
    def run(load: str, watts: float, new_tokens: int) -> object:
        work = Workload(prompt_tokens=7, new_tokens=new_tokens, batch_size=2)
        tokens = Tokens(prompt=14, generated=2 * new_tokens, useful=2 * new_tokens)
        return make_run(load=load, inference_w=watts, inference_s=1.0, workload=work, tokens=tokens)

    runs = [run("a", 10.0, 20), run("a", 14.0, 20), run("b", 20.0, 40)]
    assert points_of(runs, "cpu") == [Point(7, 20, 12.0, "a"), Point(7, 40, 20.0, "b")]
    assert points_of(runs, "gpu") == []
