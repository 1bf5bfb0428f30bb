"""Results to build sites from. Energies are power times time, so that expected figures can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from llmjoules.records.record import (
    Channel,
    DeviceState,
    Error,
    Failed,
    MeterInfo,
    Published,
    Record,
    Run,
    System,
    Tokens,
    Total,
    encode,
)
from llmjoules.sitegen.aggregate import Row, rows_of
from llmjoules.sitegen.block import rows_of_records, table_of
from llmjoules.sitegen.index import Index
from tests.builders import ESTIMATE, NVML, RAPL, energy, make_run

REASON = "too_short: the window (40 ms) is shorter than the meter's period (100 ms)"


def write(file: Path, records: Iterable[Record], more: bytes = b"") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(encode(record) + b"\n" for record in records) + more)
    return file


def rows_from(records: Iterable[Record]) -> list[Row]:
    """The rows of a site of these records."""
    return rows_of(Index([table_of(list(rows_of_records(records)), {})]))


def runs(watts: Sequence[float] = (38.0, 40.0, 42.0), *, name: str = "a", **changes: Any) -> list[Run]:
    """One run per load, the loads at these powers: 2 s and 20 tokens, so W/10 joules per token and 10 tokens/s."""
    return [
        make_run(
            load=f"load-{i}",
            repeat=i,
            inference_w=w,
            id="-".join(
                map(str, (name, *(changes.get(key) or "" for key in ("threads", "devices", "model", "new_tokens")), i))
            ),
            started_at=f"2026-01-02T03:04:0{i}.000Z",
            **changes,
        )
        for i, w in enumerate(watts)
    ]


def without_energy(**changes: Any) -> Run:
    run = make_run(id="null-run", **changes)
    inference = msgspec.structs.replace(run.phases[-1], energy=(energy("cpu:0", None, REASON),), parts=())
    run.phases = (*run.phases[:-1], inference)
    run.totals = {"cpu": Total(joules=None, source="measured", channels=("cpu:0",), reason=REASON)}
    return run


def failed(message: str = "OutOfMemoryError: no room for 2 GiB") -> Failed:
    run = make_run(id="failed-run", system="Small box")
    return Failed(
        id=run.id, schema=run.schema, model=run.model, system=run.system, workload=run.workload, meters=run.meters,
        cell=run.cell, class_=run.class_, repeat=0, load=run.load, clock=run.clock, phases=run.phases[:3],
        command=run.command, error=Error(phase="model", message=message),
    )  # fmt: skip


def published() -> Published:
    run = make_run(id="published-run")
    return Published(
        id=run.id, schema=run.schema, model=run.model, system=System(name="M1 Pro", device="mps", devices_used=1),
        totals={"chip": Total(joules=201.0, source="measured")},
        tokens=Tokens(prompt=10, generated=100, useful=100), source="A paper, table 2",
    )  # fmt: skip


def estimated() -> list[Run]:
    """Two models at one and two threads. B costs less than A, and two threads less than one: it must not matter."""
    return [
        run
        for model, watts in (("A-model", 40.0), ("B-model", 20.0))
        for threads in (1, 2)
        for run in runs([(watts - 2) / threads, watts / threads, (watts + 2) / threads],
                        meter=ESTIMATE, model=model, threads=threads)
    ]  # fmt: skip


def measured(meter: MeterInfo = RAPL, **changes: Any) -> list[Run]:
    """One model at one, two and four threads: 4, 3 and 6 J/token."""
    return [
        run
        for threads, watts in ((1, 40.0), (2, 30.0), (4, 60.0))
        for run in runs([watts - 1, watts, watts + 1], meter=meter, threads=threads, **changes)
    ]


def second_meters() -> Run:
    """A GPU with a second reading of its power, its CPU with this process's share, device states and flags."""
    counter = msgspec.structs.replace(NVML.channels[0], duty=0.25)
    power = msgspec.structs.replace(counter, id="gpu:0@power", kind="power", unit="W", duty=1.0)
    share = Channel(id="cpu:0@process", component="cpu", kind="model", source="modelled", extent="process-share")
    meters = (
        msgspec.structs.replace(NVML, channels=(counter, power)),
        msgspec.structs.replace(RAPL, channels=(*RAPL.channels, share)),
    )
    run = make_run(model="F-model", id="second-meters", device="cuda", threads=None, meter=meters[0], meters=meters,
                   inference_w=100.0)  # fmt: skip

    def with_all(stretch: Any) -> Any:
        joules = stretch.energy[0].joules
        second = msgspec.structs.replace(energy("gpu:0@power", joules * 1.1), largest_gap_s=0.21)
        others = (second, energy("cpu:0", joules / 2), energy("cpu:0@process", joules / 4))
        return msgspec.structs.replace(stretch, energy=(*stretch.energy, *others))

    run.phases = tuple(
        msgspec.structs.replace(with_all(p), parts=tuple(with_all(part) for part in p.parts)) for p in run.phases
    )
    run.totals = {**run.totals, "cpu": Total(joules=100.0, uncertainty_j=1.0, source="measured", channels=("cpu:0",))}
    start_s = run.phases[-1].start_s
    run.states = {
        "gpu:0": tuple(
            DeviceState(
                at_s=start_s + at_s, temperature_c=celsius, sm_clock_mhz=1500.0, power_limit_w=700.0,
                throttling=held, other_processes=0,
            )
            for at_s, celsius, held in ((-0.5, 30.0, ()), (0.1, 50.0, ()), (0.9, 64.5, ("power cap",)), (1.9, 60.0, ()))
        )
    }  # fmt: skip
    run.flags = ("disagreement:gpu:0@power", "throttled:gpu:0", "in_step:decode", "from_the_future:x")
    return run


def everything(folder: Path) -> Path:
    """Every kind of record, and a line that is none."""
    write(folder / "estimated.jsonl", estimated())
    write(folder / "measured.jsonl", measured(model="org/C-model"))
    gpu = [run for n in (1, 2) for run in runs(device="cuda", devices=n, threads=None, meter=NVML, model="D-model")]
    write(folder / "gpu.jsonl", gpu)
    write(
        folder / "other.jsonl",
        [failed(), published(), without_energy(model="E-model"), second_meters()],
        b'{"schema": "llmjou\n',
    )
    return folder
