"""Table 1 as it was printed, and as records of kind `published`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec

from llmjoules.records.devices import APPLES_MODEL
from llmjoules.records.ids import comparability_class, content_id, short_hash
from llmjoules.records.physics import flagged
from llmjoules.records.record import (
    Accelerator,
    Channel,
    Figures,
    MeterInfo,
    Model,
    Published,
    System,
    Workload,
)

STUDY = "hotcarbon24-table1"
LAPTOP, CLUSTER = "MacBook Pro, Apple M1 Pro", "Swing, NVIDIA A100 40GB"
BOARD_GAIN = 0.05  # of NVIDIA boards, as for our own meter


class Printed(NamedTuple):
    """One row. gpus: A100 boards; 0 for the laptop. joules: under the heading of GPU energy. file: the author's."""

    model: str
    parameters: int
    gpus: int
    tokens_per_s: float
    j_per_token: float
    joules: float
    file: str

    @property
    def implied_w(self) -> float:
        return self.j_per_token * self.tokens_per_s

    @property
    def name(self) -> str:
        return f"{self.model}, {f'{self.gpus} × A100' if self.gpus else 'M1 Pro'}"


def tokens() -> int:
    """What each run may generate at most, by which the table divides."""
    return int(_toml()["tokens"])


def printed() -> tuple[Printed, ...]:
    """The 15 rows: of each model the laptop, then 1, 2, 4 and 8 boards."""
    return tuple(
        Printed(
            model=row["model"],
            parameters=row["parameters"],
            gpus=gpus,
            tokens_per_s=figures["tokens_per_s"],
            j_per_token=figures["j_per_token"],
            joules=figures["joules"],
            file=figures["file"],
        )
        for row in _toml()["rows"]
        for gpus, figures in ((0, row["laptop"]), *((int(gpus), figures) for gpus, figures in row["gpus"].items()))
    )


def records() -> tuple[Published, ...]:
    """The rows as records. The joules are means that the source states, not totals: see the study page for of what."""
    return tuple(_record(row) for row in printed())


def _record(row: Printed) -> Published:
    model = Model(name=row.model, parameters=row.parameters, weights="real")
    work = Workload(new_tokens=tokens(), batch_size=1, stop="end-of-sequence")
    meters = (_boards(row.gpus) if row.gpus else _rails(),)
    accelerators = (Accelerator(name="NVIDIA A100 40GB"),) * row.gpus or (Accelerator(name="Apple M1 Pro GPU"),)
    record = Published(
        schema="llmjoules/1",
        id="-",
        source=f"{_toml()['source']}, {row.name}",
        study=STUDY,
        cell=short_hash([STUDY, row.model, row.gpus]),
        class_=comparability_class(meters, model, work),
        model=model,
        system=System(
            name=CLUSTER if row.gpus else LAPTOP,
            accelerators=accelerators,
            device="cuda" if row.gpus else "mps",
            devices_used=row.gpus or 1,
            strategy="single" if row.gpus < 2 else "device-map",
        ),
        workload=work,
        meters=meters,
        figures=Figures(
            component="gpu", j_per_token=row.j_per_token, j_per_request=row.joules, tokens_per_s=row.tokens_per_s
        ),
        flags=("not_as_headed:gpu",),
    )
    return msgspec.structs.replace(record, id=content_id(record), flags=flagged(record))


def _boards(count: int) -> MeterInfo:
    return MeterInfo(
        name="pyjoules",
        channels=tuple(
            Channel(
                id=f"gpu:{n}", component="gpu", kind="counter", period_s=0.1, resolution=0.001, gain=BOARD_GAIN,
                note="the whole board",
            )
            for n in range(count)
        ),
    )  # fmt: skip


def _rails() -> MeterInfo:
    """The study adds the GPU's rail alone; the CPU's is another quantity."""
    channel = Channel(id="gpu:0", component="gpu", kind="interval", source="modelled", period_s=0.2, note=APPLES_MODEL)
    return MeterInfo(name="powermetrics", channels=(channel,))


def _toml() -> dict[str, Any]:
    return tomllib.loads((files("llmjoules.sitegen.hotcarbon24") / "table1.toml").read_text("utf-8"))
