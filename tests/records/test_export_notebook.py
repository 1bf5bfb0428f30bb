"""In a notebook energies show as a table and a chart, and a name from a record shows as text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import msgspec
import pytest

import llmjoules
from llmjoules.records.record import Energy, Error, Failed
from tests.builders import ESTIMATE, make_run
from tests.records.test_export import PUBLISHED


def parsed(shown: Any) -> ET.Element:
    """As XML: every tag is closed and nothing is left unescaped."""
    html: str = shown._repr_html_()
    return ET.fromstring(html.replace("<br>", "<br/>"))


def table(shown: Any) -> list[list[str]]:
    return [[cell.text or "" for cell in row] for row in parsed(shown).iter("tr")]


def svg(shown: Any) -> list[ET.Element]:
    return list(parsed(shown).iter("{http://www.w3.org/2000/svg}svg"))


def test_a_run_shows_phases_and_totals_with_figures_worked_out_by_hand() -> None:
    rows = table(make_run(new_tokens=20, inference_s=2.0, inference_w=40.0))
    assert ["inference", "2", "cpu:0", "80.00 ± 0.81", "40", ""] in rows
    assert ["cpu, inference", "2", "cpu:0", "80.00 ± 0.80", "40", "4 J per output token"] in rows


def test_bars_are_as_long_as_their_joules() -> None:
    (drawn,) = svg(make_run())
    widths = [float(bar.get("width", "")) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    idle, _, _, _, _, inference = widths  # 10 J and 80 J
    assert inference == pytest.approx(8 * idle, rel=0.01)


def test_what_is_not_measured_says_so() -> None:
    assert "estimated: a model" in make_run(meter=ESTIMATE)._repr_html_()
    assert "dummy weights" in make_run()._repr_html_()
    assert "published: A paper, Table 1" in PUBLISHED._repr_html_()


def test_a_missing_figure_is_a_dash_with_its_reason_and_has_no_bar() -> None:
    energy = Energy(channel="gpu:0", joules=None, reason="too_short: shorter than the period")
    assert table(energy)[1] == ["gpu:0", "–", "–", "", "too_short: shorter than the period"]
    assert svg(energy) == []


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;"])
def test_a_hostile_name_is_text(name: str) -> None:
    run = make_run(model=name, system=name)
    failed = Failed(
        **{field: getattr(run, field) for field in run.__struct_fields__ if field in Failed.__struct_fields__},
        error=Error(phase=None, message=name),
    )
    for record in (run, failed, msgspec.structs.replace(PUBLISHED, source=name)):
        html = record._repr_html_()
        assert name not in html
        assert not re.search(r"<(script|img|style|link)", html)
        assert not re.search(r"\son\w+=", re.sub(r">[^<]*<", "><", html))
        assert any(name[:20] in (text or "") for text in parsed(record).itertext())


def test_a_window_shows_its_channels_and_an_open_one_says_that_it_is() -> None:
    with llmjoules.Monitor(meters=["mock"]) as monitor, monitor.window("answer <1>") as window:
        assert "still open" in window._repr_html_()
    assert [row[0] for row in table(window)[1:]] == [energy.channel for energy in window.energies]
    assert "answer <1>, " in "".join(parsed(window).itertext())


def test_showing_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from llmjoules.records.record import Energy; Energy(channel='a', joules=1.0)._repr_html_(); "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'numpy', 'pandas', 'plotly', 'jinja2', 'torch'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
