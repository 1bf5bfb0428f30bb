from __future__ import annotations

from pathlib import Path

import pytest

from llmjoules.sitegen.build import build_site
from tests.sitegen.inputs import everything


@pytest.fixture(scope="session")
def plotly_stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script in Plotly's place, for the many sites that nobody looks at in a browser."""
    file = tmp_path_factory.mktemp("plotly") / "plotly.min.js"
    file.write_text("// stands in for plotly.js\n")
    return file


@pytest.fixture(scope="session")
def full_site(tmp_path_factory: pytest.TempPathFactory, plotly_stub: Path) -> Path:
    """A site of every kind of record, not to be changed."""
    folder = tmp_path_factory.mktemp("full")
    build_site([everything(folder / "results")], folder / "site", plotly_js=plotly_stub)
    return folder / "site"
