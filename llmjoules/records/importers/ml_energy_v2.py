"""The ML.ENERGY leaderboard's data, version 2 (a flat JSON object a file), and its older tables (CSV, batch 1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypeAlias

import msgspec

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.building import Publisher, joules
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.ml_energy import GPUS
from llmjoules.records.importers.reading import Columns, Energies, NotANumber, Seen, SourceFile, misfit
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Count, Figures, MeterInfo, Phase, Published, Total, Workload

Ways: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=64)]
LEGACY = ["model", "throughput", "response_length", "latency", "energy"]
KEYS = {
    "Model", "GPU", "TP", "PP", "Energy/req (J)", "Avg TPOT (s)", "Token tput (tok/s)", "Avg Output Tokens",
    "Avg BS (reqs)", "Max BS (reqs)",
}  # fmt: skip
METERS = (MeterInfo(name="zeus", channels=(GPUS,)),)


class MlEnergyV2(Importer):
    name = "ml-energy-v2"
    summary = "the ML.ENERGY leaderboard, version 2: one JSON object a file, or its older tables"

    def matches(self, file: SourceFile) -> bool:
        return b'"Energy/req (J)"' in file.head or ",".join(LEGACY) == "".join(file.lines_at_head(1))

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
        publisher, energies = Publisher(file, "ML.ENERGY leaderboard v2", options), Energies(units)
        if file.lines_at_head(1)[0].startswith("{"):
            factor = energies.factor("Energy/req (J)", "J")
            data = file.json()
            if not isinstance(data, dict) or not data.keys() >= {"Model", "Energy/req (J)", "Avg Output Tokens", "TP"}:
                raise LlmjoulesError(f"Not a result of ML.ENERGY v2: {file.name}.", "Keys of it are missing.")
            try:
                yield _record(publisher, energies, msgspec.convert(data, Result), factor)
            except (msgspec.ValidationError, ZeroDivisionError) as error:
                raise LlmjoulesError(f"Not a result of ML.ENERGY v2: {file.name}.", f"{error}.") from error
            yield from (Unmapped(f"key {key}") for key in data if key not in KEYS)
        else:
            yield from _table(publisher, energies, file)


class Result(msgspec.Struct, frozen=True):
    """A file's keys, which have blanks and units in them."""

    model: str = msgspec.field(name="Model")
    gpu: str = msgspec.field(name="GPU")
    tensor_parallel: Ways = msgspec.field(name="TP")
    per_request: float = msgspec.field(name="Energy/req (J)")
    output_tokens: float = msgspec.field(name="Avg Output Tokens")
    max_batch: Count = msgspec.field(name="Max BS (reqs)")
    pipeline_parallel: Ways = msgspec.field(name="PP", default=1)
    tpot_s: float | None = msgspec.field(name="Avg TPOT (s)", default=None)
    tokens_per_s: float | None = msgspec.field(name="Token tput (tok/s)", default=None)
    batch: float | None = msgspec.field(name="Avg BS (reqs)", default=None)


def _record(publisher: Publisher, energies: Energies, data: Result, factor: float) -> Published:
    gpus = data.tensor_parallel * data.pipeline_parallel
    ways = {"tensor-parallel": data.tensor_parallel, "pipeline-parallel": data.pipeline_parallel}
    spread = ", ".join(f"{name} {count}" for name, count in ways.items() if count > 1)
    per_request = data.per_request * factor
    return publisher.record(
        line=1,
        model=publisher.model(data.model),
        system=publisher.system(data.gpu, data.gpu, gpus, device="cuda", strategy=spread or "single"),
        workload=Workload(batch_size=data.max_batch),
        meters=METERS,
        totals={"gpu": Total(joules=per_request, source="measured", channels=("gpu",))},
        figures=Figures(
            component="gpu",
            j_per_token=per_request / data.output_tokens,
            j_per_request=per_request,
            tokens_per_s=data.tokens_per_s,
            output_tokens=data.output_tokens,
            concurrency=data.batch,
            tpot_s=data.tpot_s,
        ),
        units=energies.stated,
        corrections=energies.corrections,
    )


def _table(publisher: Publisher, energies: Energies, file: SourceFile) -> Iterator[Item]:
    """Mean latency and energy of a response, one at a time; the GPU is named by the file alone."""
    rows, seen = file.rows(), Seen()
    header = next(rows)
    if isinstance(header, Bad):
        yield header
        return
    columns, factor = Columns(header.fields), energies.factor("energy", "J")
    board = file.stem.split("_")[0]
    yield Note(f"no GPU is named in the file: {board} is from its name (--set accelerator=NAME)")
    yield Note("model names are those of 2023, and some models go by another name today")
    for row in rows:
        if isinstance(row, Bad):
            yield row
            continue
        wrong = misfit(row, len(columns)) or seen.before(row.line, row.fields)
        if wrong is not None:
            yield wrong
            continue
        try:
            rate, tokens, latency_s, energy_j = (columns.number(row.fields, at) for at in range(1, len(columns)))
            energy_j *= factor
            per_token = energy_j / tokens
        except NotANumber as error:
            yield Bad(row.line, str(error))
            continue
        except ZeroDivisionError:
            yield Bad(row.line, "a response of no tokens has no energy for each; take the row out", "response_length")
            continue
        yield publisher.record(
            line=row.line,
            model=publisher.model(row.fields[0]),
            system=publisher.system(board, f"NVIDIA {board}", 1, device="cuda", strategy="single"),
            workload=Workload(batch_size=1),
            meters=METERS,
            phases=(Phase(name="inference", start_s=0.0, end_s=latency_s, energy=(joules("gpu", energy_j),)),),
            figures=Figures(component="gpu", j_per_token=per_token, tokens_per_s=rate, output_tokens=tokens),
            units=energies.stated,
            corrections=energies.corrections,
        )


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [MlEnergyV2()]
