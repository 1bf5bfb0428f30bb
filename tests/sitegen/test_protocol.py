"""The protocol on a run's page: net beside gross, with its idle; what surrounds a run; idles in no sum of phases."""

from __future__ import annotations

import msgspec

from llmjoules.records.record import Call, Conditions, CoolDown, PageCache, Phase, Replay, WarmUp
from llmjoules.sitegen import block, protocol, runview
from tests.builders import energy, make_run


def test_the_energy_card_names_net_and_the_idle_it_is_of() -> None:
    card = next(card for card in runview.cards(make_run()) if "energy, inference" in card.label)
    assert (card.value, card.unit) == ("80.00", "J")
    # 80 ± 0.8 J less 10 ± 0.11 W over 2 s
    assert "net of 10 W (idle): 60.00 ± 0.83 J" in [note.replace("10.0 W", "10 W") for note in card.notes]


def test_no_idle_is_counted_among_the_phases_of_work() -> None:
    run = make_run()
    end_s = run.phases[-1].end_s
    after = Phase(name="idle-after", start_s=end_s, end_s=end_s + 1, energy=(energy("cpu:0", 10.0),))
    loaded = msgspec.structs.replace(after, name="idle-loaded")
    parts = block._part(msgspec.structs.replace(run, phases=(*run.phases, loaded, after)), "cpu")
    names = [phase["name"] for phase in parts["phases"]]
    assert names == ["import", "tokenizer", "model", "pipeline", "prefill", "decode"]


def test_what_surrounds_a_run_stands_among_its_evidence() -> None:
    cooled = CoolDown(limit_s=10.0, waited_s=2.5, outcome="cool")
    run = msgspec.structs.replace(
        make_run(),
        conditions=Conditions(
            at_s=-1.0, start_delay_s=0.05, cool_down=cooled, temperatures_c={"cpu": 41.0}, other_cpus={"idle": 0.25}
        ),
        page_cache=PageCache(asked="drop", resident=0.0),
        warm_up=WarmUp(
            rule="fixed", ended="number", calls=(Call(start_s=0.0, end_s=0.5, energy=(energy("cpu:0", 3.0),)),)
        ),
        replays=(Replay(name="prefill", context_tokens=7, reason="not_replayed: <b>no</b>"),),
    )
    assert dict(protocol.facts(run)) == {
        "Before it": "Cool after 2.50 s; CPU 41.0 °C; others kept 0.25 CPUs busy in idle; start put off by 50.0 ms",
        "Warm-up": "The first call took 500 ms and 3.00 J; as many as asked for",
        "Cold start": "Import 60.0 J, tokenizer 2.00 J, model 10.0 J, pipeline 0.750 J; 0\u202f% of the weights lay in "
        "the page cache",
        "Replays": "In a steady state, prefill of 7 tokens –",
        "Closure": "None: not_replayed: <b>no</b>",  # escaped by the template, as all text of records
    }
    shown = {fact.name: fact.value for fact in runview.evidence(run, "a.jsonl", 1)}
    assert shown["Closure"].startswith("None: ")
    assert dict(protocol.facts(make_run(first=False))) == {}
