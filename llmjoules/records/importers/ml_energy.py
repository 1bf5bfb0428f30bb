"""The ML.ENERGY leaderboard's data, version 3: `{"configurations": [...], "task": …}`, one record a configuration.

Its J/token is power over throughput and its J/request that times the mean length: three columns of two measurements,
in steady state, all GPUs together. It states neither the number of runs nor a spread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.building import BOARD_GAIN, Publisher
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import SourceFile
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, Figures, MeterInfo, Total, Workload

GPUS = Channel(
    id="gpu", component="gpu", kind="counter", gain=BOARD_GAIN, note="all GPUs together, in steady state (Zeus, NVML)"
)
USED = {
    "model_id", "nickname", "gpu_model", "num_gpus", "max_num_seqs", "avg_batch_size", "avg_output_len",
    "energy_per_token_joules", "energy_per_request_joules", "avg_power_watts", "output_throughput_tokens_per_sec",
    "median_itl_ms", "p50_itl_ms", "p90_itl_ms", "p95_itl_ms", "p99_itl_ms", "weight_precision", "architecture",
    "total_params_billions", "tensor_parallel", "expert_parallel", "data_parallel",
}  # fmt: skip
ITL = {"p50": "median_itl_ms", "p90": "p90_itl_ms", "p95": "p95_itl_ms", "p99": "p99_itl_ms"}
PARALLEL = ("tensor_parallel", "expert_parallel", "data_parallel")


class MlEnergy(Importer):
    name = "ml-energy"
    summary = "the ML.ENERGY leaderboard, version 3: JSON with a list of configurations"

    def matches(self, file: SourceFile) -> bool:
        return file.head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"{") and b'"configurations"' in file.head

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:  # noqa: ARG002 - states none
        data = file.json()
        found = data.get("configurations") if isinstance(data, dict) else None
        if not isinstance(found, list):
            raise LlmjoulesError(f"No list of configurations in {file.name}.", "Its key is missing or holds no list.")
        publisher, task = Publisher(file, "ML.ENERGY leaderboard v3", options), str(data.get("task", ""))
        shared = {key: value for key, value in data.items() if key != "configurations" and key in USED}
        yield Note(
            "J/token is power over throughput, J/request that times the mean length: two measurements, not three"
        )
        yield Note("no number of runs and no spread is stated: each configuration is one figure without an interval")
        for number, configuration in enumerate(found, 1):
            where = f"configuration {number}"
            if not isinstance(configuration, dict):
                yield Bad(0, f"{where} is no object")
            elif "energy_per_token_joules" not in configuration:
                yield Unmapped("configurations of a task without tokens")
            else:
                try:
                    yield _record(publisher, {**shared, **configuration}, task, where)
                except (KeyError, TypeError, ValueError) as error:
                    yield Bad(0, f"{where}: {type(error).__name__}: {error}")
                yield from (Unmapped(f"key {key}") for key in configuration if key not in USED)


def _record(publisher: Publisher, data: Mapping[str, Any], task: str, where: str) -> Item:
    gpus = int(data["num_gpus"])
    parallel = {name: int(data[name]) for name in PARALLEL if data.get(name)}
    spread = [f"{name.replace('_', '-')} {ways}" for name, ways in parallel.items() if ways > 1]
    billions = data.get("total_params_billions")
    itl = {name: data[key] / 1e3 for name, key in ITL.items() if data.get(key) is not None}
    return publisher.record(
        line=None,
        where=where,
        model=publisher.model(
            data.get("model_id") or data.get("nickname"),
            architecture=data.get("architecture"),
            parameters=round(billions * 1e9) if billions else None,
            dtype=data.get("weight_precision"),
        ),
        system=publisher.system(
            data["gpu_model"],
            f"NVIDIA {data['gpu_model']}",
            gpus,
            device="cuda",
            strategy=", ".join(spread) or "single",
        ),
        workload=Workload(batch_size=int(data["max_num_seqs"])),
        meters=(MeterInfo(name="zeus", channels=(GPUS,)),),
        totals={"gpu": Total(joules=float(data["energy_per_request_joules"]), source="measured", channels=("gpu",))},
        figures=Figures(
            component="gpu",
            j_per_token=float(data["energy_per_token_joules"]),
            j_per_request=float(data["energy_per_request_joules"]),
            power_w=data.get("avg_power_watts"),
            tokens_per_s=data.get("output_throughput_tokens_per_sec"),
            output_tokens=data.get("avg_output_len"),
            concurrency=data.get("avg_batch_size"),
            itl_s=itl,
        ),
        units={"energy_per_token_joules": "J", "avg_power_watts": "W", "median_itl_ms": "ms"},
        setting=(task, parallel),
    )


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [MlEnergy()]
