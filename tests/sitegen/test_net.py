"""Net energy on a run's page: beside gross, with its idle; and the idle after a run in no sum of phases."""

from __future__ import annotations

import msgspec

from llmjoules.records.record import Phase
from llmjoules.sitegen import block, runview
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
