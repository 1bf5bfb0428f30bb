"""site.toml: found, read, and answered where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmjoules.records.errors import LlmjoulesError
from llmjoules.sitegen.config import Limits, SiteConfig, read_config

WHOLE = """
title = "Our machines"
base_url = "https://example.org/joules"
notes = ["Measured in a cellar at 18 °C.", "Ask us for the rest."]
templates = "look"

[limits]
tokens_per_s = 10
power_w = 250.5
"""


def test_it_is_found_in_the_results_folder_or_beside_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "results").mkdir(parents=True)
    (site / "look").mkdir()
    (site / "site.toml").write_text(WHOLE)
    expected = SiteConfig(
        title="Our machines",
        base_url="https://example.org/joules",
        notes=("Measured in a cellar at 18 °C.", "Ask us for the rest."),
        templates=site / "look",
        limits=Limits(tokens_per_s=10, power_w=250.5),
    )
    assert read_config(None, [site]) == expected
    assert read_config(None, [site / "results"]) == expected
    assert read_config(site / "site.toml", []) == expected


def test_without_one_nothing_is_said(tmp_path: Path) -> None:
    assert read_config(None, [tmp_path, tmp_path / "missing"]) == SiteConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("titel = 'x'", ["unknown key titel", "nearest known name is title"]),
        ("[limits]\nwatts = 3", ["unknown key limits.watts", "limits.power_w"]),
        ("title = 3", ["wrong value", "`str | null`", "$.title"]),
        ("[limits]\npower_w = -1", ["wrong value", ">= 0", "$.limits.power_w"]),
        ("[limits]\npower_w = inf", ["wrong value", "$.limits.power_w"]),
        ("title = ", ["is not TOML"]),
        ("templates = 'nowhere'", ["templates is no folder"]),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(LlmjoulesError) as caught:
        read_config(None, [tmp_path])
    for word in ["site.toml", *words]:
        assert word in str(caught.value)
