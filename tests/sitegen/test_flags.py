"""What the physics checks find stands on pages with its figures, not as a flag alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from llmjoules.records import physics
from llmjoules.records.record import Accelerator, Energy, Model, Phase, Published, System, Total, Workload, encode
from llmjoules.sitegen import flags
from llmjoules.sitegen.build import build_site
from tests.builders import NVML, make_run
from tests.sitegen.html import Html, page_of

FOUND = "GPU: 140000 W is above the 400 W that such a device may draw; a thousandth, 140 W, would be possible"
MEANS = "The energy over the time is more power than such devices may draw: a unit, a time or the number of devices"


def millijoules_as_joules(**more: object) -> Published:
    """One A100 for six seconds; its 840 J are said to be 840 000."""
    energy = Energy(channel="gpu:0", joules=840_000.0)
    record = Published(
        schema="llmjoules/1",
        id="wrong-unit",
        source="A lab, table 1",
        model=Model(name="m"),
        system=System(name="s", accelerators=(Accelerator(name="NVIDIA A100-SXM4-40GB"),), devices_used=1),
        workload=Workload(prompt_tokens=10, new_tokens=200, batch_size=1),
        meters=(NVML,),
        phases=(Phase(name="inference", start_s=0.0, end_s=6.0, energy=(energy,)),),
        totals={"gpu": Total(joules=840_000.0, source="measured", channels=("gpu:0",))},
    )
    record = msgspec.structs.replace(record, **more)
    return msgspec.structs.replace(record, flags=physics.flagged(record))


def test_a_finding_says_what_it_found_and_what_it_means() -> None:
    (said,) = flags.explained(millijoules_as_joules())
    assert said.startswith(FOUND)
    assert MEANS in said


def test_a_finding_is_shown_though_the_record_was_written_before_there_was_its_check() -> None:
    old = msgspec.structs.replace(millijoules_as_joules(), flags=("tokens_assumed",))
    assumed, found = flags.explained(old)
    assert assumed.startswith("The source has no number of output tokens")
    assert found.startswith(FOUND)


def test_a_flag_that_no_longer_holds_keeps_its_words() -> None:
    run = make_run(flags=("power_above_limit:cpu",))
    assert flags.explained(run) == [flags.in_words("power_above_limit:cpu")]


@pytest.mark.parametrize("code", sorted(physics.CODES))
def test_every_check_has_words(code: str) -> None:
    assert flags.is_finding(f"{code}:gpu")
    assert "no words" not in flags.in_words(f"{code}:gpu")
    assert code not in flags.in_brief([f"{code}:gpu"])


def test_a_component_in_a_list_of_runs_is_spelled_as_elsewhere() -> None:
    assert flags.in_brief(["power_above_limit:gpu", "shared:cpu"]).endswith(": GPU; shared with others: CPU")


def test_findings_stand_on_the_runs_page_and_on_that_of_data_health(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    plausible = make_run(flags=("tokens_assumed",))
    (results / "a.jsonl").write_bytes(encode(millijoules_as_joules()) + b"\n" + encode(plausible) + b"\n")
    build_site([results], tmp_path / "site")
    said = page_of(tmp_path / "site", "runs", "m on s").text
    assert FOUND in said
    assert MEANS in said
    health = Html(tmp_path / "site" / "health.html").text
    assert MEANS in health
    assert health.count(FOUND) == 1
