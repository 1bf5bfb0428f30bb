"""What all tests share: no hub, no deadlines, and in CI no quiet skips."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would ask the hub fails here as it does without a network

hypothesis.settings.register_profile("llmjoules", deadline=None)  # tests never assert absolute times
hypothesis.settings.load_profile("llmjoules")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if item.get_closest_marker("hardware") is None:
        fail_if_skipped_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    fail_if_skipped_in_ci(report)  # a whole module, skipped at its import
    return report


def fail_if_skipped_in_ci(report: Any) -> None:
    """CI installs everything, so a skip there means that a claim went unchecked (an expected failure is no skip)."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("LLMJOULES_CI"):
        reason = (
            report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
        )
        if not reason.startswith("needs ../shared"):
            report.outcome = "failed"
            report.longrepr = f"Skipped, which is a failure in CI: {reason}"
