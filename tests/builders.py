"""Small builders of records for tests: sensible everywhere, changed where a test says so."""

from __future__ import annotations

from typing import Any

import msgspec

from llmjoules.records.ids import comparability_class, new_id, short_hash
from llmjoules.records.record import (
    SCHEMA,
    Channel,
    Clock,
    Energy,
    Load,
    MeterInfo,
    Model,
    Part,
    Phase,
    Run,
    System,
    Tokens,
    Total,
    Trace,
    TraceLine,
    Workload,
)

ESTIMATE = MeterInfo(
    name="estimate",
    channels=(
        Channel(id="cpu:0", component="cpu", kind="model", source="modelled", period_s=0.01, resolution=0.1, gain=0.5),
    ),
    options={"tdp_w": 65.0, "tdp_origin": "given by the user"},
)
RAPL = MeterInfo(
    name="rapl",
    channels=(
        Channel(id="cpu:0", component="cpu", kind="counter", period_s=0.001, resolution=6.1e-05, wraps_at_j=262143.0),
    ),
)
NVML = MeterInfo(
    name="nvml",
    channels=(
        Channel(
            id="gpu:0", component="gpu", kind="counter", period_s=0.1, resolution=0.001, gain=0.05, uuid="GPU-1234"
        ),
    ),
)


def phase(name: str, start_s: float, end_s: float, power_w: float, channel: str = "cpu:0", **more: Any) -> Phase:
    """A phase at constant power."""
    return Phase(
        name=name, start_s=start_s, end_s=end_s, energy=(energy(channel, power_w * (end_s - start_s)),), **more
    )


def energy(channel: str, joules: float | None, reason: str | None = None) -> Energy:
    uncertainty_j = None if joules is None else round(0.01 * joules + 0.01, 6)
    return Energy(channel=channel, joules=joules, uncertainty_j=uncertainty_j, method="counter", reason=reason)


def trace(phases: tuple[Phase, ...], powers_w: dict[str, float], channel: str = "cpu:0") -> Trace:
    """Four buckets a phase, flat, with a band of ±5 %."""
    edges = [phases[0].start_s]
    means: list[float] = []
    for p in phases:
        width = (p.end_s - p.start_s) / 4
        edges += [round(p.start_s + width * k, 6) for k in range(1, 5)]
        means += [powers_w[p.name]] * 4
    line = TraceLine(
        mean_w=tuple(means),
        min_w=tuple(round(m * 0.95, 3) for m in means),
        max_w=tuple(round(m * 1.05, 3) for m in means),
    )
    return Trace(edges_s=tuple(edges), channels={channel: line})


def make_run(
    *,
    model: str = "dummy:llama-tiny",
    system: str = "Test CPU, 2 CPUs",
    threads: int | None = 1,
    devices: int = 1,
    device: str = "cpu",
    load: str = "load-1",
    first: bool = True,
    repeat: int = 0,
    new_tokens: int = 20,
    inference_s: float = 2.0,
    inference_w: float = 40.0,
    meter: MeterInfo = RAPL,
    **overrides: Any,
) -> Run:
    """A run with idle, loading (in the first of a load) and inference at constant powers: joules are P times t."""
    channel = meter.channels[0].id
    component = meter.channels[0].component
    powers = {
        "idle": 10.0,
        "import": 30.0,
        "tokenizer": 20.0,
        "model": 25.0,
        "pipeline": 15.0,
        "inference": inference_w,
    }
    durations = {"idle": 1.0, "import": 2.0, "tokenizer": 0.1, "model": 0.4, "pipeline": 0.05, "inference": inference_s}
    names = list(durations) if first else ["idle", "inference"]
    phases: list[Phase] = []
    at_s = 0.0
    for name in names:
        end_s = round(at_s + durations[name], 6)
        parts = ()
        if name == "inference":
            cut = round(at_s + inference_s * 0.1, 6)
            parts = tuple(
                Part(name=n, start_s=a, end_s=b, energy=(energy(channel, inference_w * (b - a)),))
                for n, a, b in (("prefill", at_s, cut), ("decode", cut, end_s))
            )
        phases.append(phase(name, at_s, end_s, powers[name], channel, parts=parts))
        at_s = end_s
    the_model = Model(
        name=model,
        architecture="llama",
        parameters=200_000,
        dtype="float32",
        weights="dummy" if "dummy" in model else "real",
    )
    workload = Workload(
        prompt_tokens=7,
        new_tokens=new_tokens,
        batch_size=1,
        prompt_sha256="0" * 64,
        decoding="greedy",
        stop="new-tokens",
    )
    inference = phases[-1]
    start = inference.start_s
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "id": new_id(),
        "started_at": "2026-01-02T03:04:05.000Z",
        "study": None,
        "cell": short_hash([model, threads, devices, new_tokens]),
        "class_": comparability_class([meter], the_model, workload),
        "repeat": repeat,
        "load": Load(id=load, first=first),
        "clock": Clock(unix_s=1767323045.0, monotonic_s=1000.0),
        "model": the_model,
        "workload": workload,
        "system": System(
            name=system,
            cpu="Test CPU",
            memory_bytes=24_000_000_000,
            os="Linux 6.1",
            device=device,
            devices_visible=devices,
            devices_used=devices,
            strategy="single" if devices == 1 else "device-map",
            threads=threads,
        ),
        "software": {"llmjoules": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "transformers": "5.24.0"},
        "meters": (meter,),
        "phases": tuple(phases),
        "totals": {
            component: Total(
                joules=inference_w * inference_s,
                uncertainty_j=0.01 * inference_w * inference_s,
                source=meter.channels[0].source,
                channels=(channel,),
            )
        },
        "tokens": Tokens(
            prompt=7,
            generated=new_tokens,
            useful=new_tokens,
            times_s=tuple(round(start + inference_s * (0.1 + 0.9 * k / new_tokens), 6) for k in range(new_tokens)),
        ),
        "trace": msgspec.Raw(msgspec.json.encode(trace(tuple(phases), powers, channel))),
        "command": f"llmjoules measure --model {model} --new-tokens {new_tokens} --repeats 1 --loads 1",
    }
    return Run(**{**fields, **overrides})
