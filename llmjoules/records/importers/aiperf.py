"""GPU telemetry of aiperf: statistics of metrics per GPU, in JSON.

`energy_consumption` counts since the machine was started, in megajoules: the job's energy is its max less its min, a
lower bound, since the edges of polling are missing; its mean says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.building import BOARD_GAIN, NVML_TICK_S, Publisher, joules
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import TO_WATTS, Energies, SourceFile
from llmjoules.records.importers.types import Bad, Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Channel, Energy, MeterInfo, Phase, Workload

ENERGY, POWER = ("energy_consumption",), ("power_usage", "power_draw")


class Aiperf(Importer):
    name = "aiperf"
    summary = "GPU telemetry of aiperf"

    def matches(self, file: SourceFile) -> bool:
        return b'"telemetry_data"' in file.head or (b'"endpoints"' in file.head and b'"gpus"' in file.head)

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
        data = file.json()
        data = data.get("telemetry_data", data) if isinstance(data, dict) else {}
        energies = Energies(units)
        try:
            seconds = _span_s(data["summary"])
        except (KeyError, TypeError, ValueError) as error:
            raise LlmjoulesError(
                f"No start and end in the telemetry of {file.name}.", "Without them there is no duration."
            ) from error
        channels: list[Channel] = []
        found: list[Energy] = []
        names: list[str] = []
        for gpu in _gpus(data):
            index = len(names)
            names.append(str(gpu.get("gpu_name") or gpu.get("gpu_model_name") or "unnamed GPU"))
            metrics = gpu.get("metrics") or {}
            for name, metric in metrics.items():
                if not name.endswith((*ENERGY, *POWER)):
                    yield Unmapped(f"metric {name}")
                    continue
                counter = name.endswith(ENERGY)
                channel = f"gpu:{index}" if counter else f"gpu:{index}@power"
                try:
                    if counter:
                        factor = energies.factor(name, str(metric.get("unit") or "MJ"))
                        value = (metric["max"] - metric["min"]) * factor
                        method = "the counter's max less its min: a lower bound, the edges of polling are missing"
                    else:
                        factor = energies.factor(name, str(metric.get("unit") or "W"), TO_WATTS)
                        value = metric["avg"] * factor * seconds
                        method = "mean power times the whole time"
                except (KeyError, TypeError) as error:
                    yield Bad(0, f"metric {name} of GPU {index}: no number ({error})")
                    continue
                channels.append(
                    Channel(
                        id=channel,
                        component="gpu",
                        kind="counter" if counter else "power",
                        unit="J" if counter else "W",
                        period_s=NVML_TICK_S,
                        gain=BOARD_GAIN,
                        uuid=gpu.get("gpu_uuid"),
                    )
                )
                found.append(joules(channel, value, method=method))
        if not found:
            raise LlmjoulesError(
                f"No energy in {file.name}.",
                "Telemetry was on, but no endpoint answered: its list of them is empty.",
                "Start the exporter (DCGM) before the benchmark.",
            )
        yield Note("the energy is a lower bound: what was used before the first poll and after the last is missing")
        yield Unmapped("host names")
        publisher = Publisher(file, "aiperf telemetry", options)
        yield publisher.record(
            line=1,
            model=publisher.model(None),
            system=publisher.system(names[0], names[0], len(names), device="cuda"),
            workload=Workload(new_tokens=options.new_tokens, batch_size=options.batch_size),
            meters=(MeterInfo(name="dcgm", channels=tuple(channels)),),
            phases=(Phase(name="job", start_s=0.0, end_s=seconds, energy=tuple(found)),),
            flags=("lower_bound:gpu",),
            units=energies.stated,
            corrections=energies.corrections,
        )


def _span_s(summary: Mapping[str, Any]) -> float:
    begin, end = (datetime.fromisoformat(summary[key]) for key in ("start_time", "end_time"))
    return (end - begin).total_seconds()


def _gpus(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for endpoint in (data.get("endpoints") or {}).values():
        yield from (endpoint.get("gpus") or {}).values()


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [Aiperf()]
