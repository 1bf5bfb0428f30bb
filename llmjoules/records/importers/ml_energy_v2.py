"""The ML.ENERGY leaderboard's data, version 2 (a flat JSON object a file), and its older tables (CSV, batch 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.building import Publisher, joules
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.ml_energy import GPUS
from llmjoules.records.importers.reading import Columns, Energies, NotANumber, Seen, SourceFile, number
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Figures, MeterInfo, Phase, Published, Total, Workload

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
            yield _record(publisher, energies, data, factor)
            yield from (Unmapped(f"key {key}") for key in data if key not in KEYS)
        else:
            yield from _table(publisher, energies, file)


def _record(publisher: Publisher, energies: Energies, data: Mapping[str, Any], factor: float) -> Published:
    gpus = int(data["TP"]) * int(data.get("PP", 1))
    spread = [f"{name} {data[key]}" for name, key in (("tensor-parallel", "TP"), ("pipeline-parallel", "PP"))
              if data.get(key, 1) > 1]  # fmt: skip
    per_request = data["Energy/req (J)"] * factor
    return publisher.record(
        line=1,
        model=publisher.model(data["Model"]),
        system=publisher.system(data["GPU"], data["GPU"], gpus, device="cuda", strategy=", ".join(spread) or "single"),
        workload=Workload(batch_size=int(data["Max BS (reqs)"])),
        meters=METERS,
        totals={"gpu": Total(joules=per_request, source="measured", channels=("gpu",))},
        figures=Figures(
            component="gpu",
            j_per_token=per_request / data["Avg Output Tokens"],
            j_per_request=per_request,
            tokens_per_s=data.get("Token tput (tok/s)"),
            output_tokens=data["Avg Output Tokens"],
            concurrency=data.get("Avg BS (reqs)"),
            tpot_s=data.get("Avg TPOT (s)"),
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
        skipped = row if isinstance(row, Bad) else seen.before(row.line, row.fields)
        if isinstance(row, Bad) or skipped is not None:
            yield from [skipped] if skipped is not None else []
            continue
        if len(row.fields) != len(columns):
            yield Bad(row.line, f"{len(row.fields)} fields instead of {len(columns)}")
            continue
        try:
            rate, tokens, latency_s, energy_j = map(number, row.fields[1:])
            energy_j *= factor
            per_token = energy_j / tokens
        except (NotANumber, ZeroDivisionError) as error:
            yield Bad(row.line, str(error))
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
