"""What `measure` says at its end, from records with figures worked out by hand."""

from __future__ import annotations

import msgspec

from llmjoules.protocol import lines
from llmjoules.records.record import Call, Energy, Phase, Replay, Run, WarmUp
from tests.builders import energy, make_run


def whole_run(**more: object) -> Run:
    """80 J in 2 s with 10 W before and 20 W after it; five calls; replays of 4 J, and 2 J a step."""
    run = make_run(new_tokens=20, **more)
    end_s = run.phases[-1].end_s
    after = Phase(name="idle-after", start_s=end_s, end_s=end_s + 1, energy=(energy("cpu:0", 20.0),))
    loaded = Phase(name="idle-loaded", start_s=3.55, end_s=3.55, energy=())
    calls = tuple(
        Call(start_s=float(n), end_s=n + seconds, energy=(Energy(channel="cpu:0", joules=joules, uncertainty_j=0.1),))
        for n, (seconds, joules) in enumerate(((0.9, 36.0), (0.5, 20.0), (0.2, 8.0), (0.2, 8.0), (0.2, 8.0)))
    )
    replays = tuple(
        Replay(name=name, context_tokens=7, times=9, energy=(Energy(channel="cpu:0", joules=j, uncertainty_j=0.0),))
        for name, j in (("prefill", 4.0), ("decode", 2.0))
    )
    return msgspec.structs.replace(
        run,
        phases=(*run.phases[:-1], loaded, run.phases[-1], after) if run.load.first else (*run.phases, after),
        warm_up=WarmUp(rule="auto", ended="settled", calls=calls),
        replays=replays,
    )


def test_each_part_of_the_protocol_is_a_sentence() -> None:
    run = msgspec.structs.replace(whole_run(first=False), flags=("busy:cpu", "too_short:prefill"))
    said = list(lines([run, make_run(first=False)]))
    assert (
        said[0]
        == "The first call took 900 ms and 36.0 J, the last 3 of 5 took 200 ms and 8.00 J each; then they agreed."
    )
    # 80 J less 15 W, and less 10 W where there was none after: 50 and 60 J.
    assert said[1].startswith("Net of 12.5 W (idle and idle-after), cpu has 55 ± ")
    assert said[2] == "Replays: in a steady state, prefill of 7 tokens 4.00 J, a step behind 7 tokens 2.00 J."
    # 4 J and 19 steps of 2 J, of 80 ± 0.8 J
    assert said[3].startswith("Closure: replayed prefill and decode are 52.50 ± 0.53 % of the measured inference")
    assert said[3].endswith("; the rest is tokenizing, generate's own work and text.")
    assert said[-1] == "1 of 2 runs: busy with others: CPU."
    assert not any("too short" in line for line in said)


def test_loading_is_told_with_its_break_even() -> None:
    said = list(lines([make_run(), make_run(first=False, repeat=1)]))
    cold, even = said[-2:]
    assert cold == "Cold start: import 60.0 J, tokenizer 2.00 J, model 10.0 J, pipeline 0.750 J, first token 8.00 J."
    # 19 times 72.75 ± 0.77 J over 80 ± 0.8 J
    assert even == "Loading is below 5 % of all energy after 17.3 such requests (17.0 to 17.5, over one load)."


def test_several_cells_are_named_and_many_of_them_tell_their_flags_alone() -> None:
    two = [make_run(first=False, threads=threads) for threads in (1, 2)]
    assert {line.partition(": ")[0] for line in lines(two)} == {
        "dummy:llama-tiny, 1 thread",
        "dummy:llama-tiny, 2 threads",
    }
    many = [msgspec.structs.replace(make_run(threads=n), flags=("hot_start:gpu:0",)) for n in range(1, 8)]
    assert len(list(lines(many))) == 7
    assert all("hot at the start" in line for line in lines(many))


def test_records_of_older_versions_have_less_to_tell() -> None:
    assert [line.split()[0] for line in lines([make_run(first=False)])] == ["Net"]
    assert list(lines([])) == []


def test_replays_that_take_more_than_the_whole_say_so() -> None:
    run = whole_run(first=False)
    dear = msgspec.structs.replace(run.replays[1], energy=(Energy(channel="cpu:0", joules=5.0, uncertainty_j=0.0),))
    said = list(lines([msgspec.structs.replace(run, replays=(run.replays[0], dear))]))
    assert said[3].startswith("Closure: replayed prefill and decode are 123.8 ± ")  # 4 J and 19 steps of 5 J, of 80 J
    assert said[3].endswith("; so a steady state took more than the request did.")
