"""The demo: two small models on this machine's CPU, at one thread and at two."""

from __future__ import annotations

import os

from llmjoules.runner.settings import Plan, Settings, make_plan

MODELS = ("dummy:smollm2-135m", "dummy:smollm2-360m")
NEW_TOKENS, REPEATS, LOADS = 32, 6, 3  # a few minutes on two cores, and three processes for an interval


def demo_plans() -> list[Plan]:
    threads = range(1, min(2, os.cpu_count() or 1) + 1)
    return [
        make_plan(
            Settings(model=model, new_tokens=NEW_TOKENS, device="cpu"),
            batch=None,
            repeats=REPEATS,
            loads=LOADS,
            threads=threads,
        )
        for model in MODELS
    ]
