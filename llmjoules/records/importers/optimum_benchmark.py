"""A report of optimum-benchmark: kWh per phase and component. Its config and CodeCarbon files are read where they lie
beside it (`benchmark_config.json`, `prefill_codecarbon.json`, `generate_codecarbon.json`).

Decode is generate less prefill, two separate passes. Tokens per kWh rest on the cap, samples times
(max_new_tokens − 1), not on a count: J/token is a lower bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.importers.building import Publisher, joules
from llmjoules.records.importers.codecarbon import CHANNELS
from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.reading import Energies, SourceFile
from llmjoules.records.importers.types import Importer, Item, Note, Options, Units, Unmapped
from llmjoules.records.record import Energy, Figures, MeterInfo, Part, Phase, PhaseName, Workload

TOOL = "optimum-benchmark"
LOADS: dict[str, PhaseName] = {"load_model": "model+pipeline"}
INFERENCE = ("prefill", "decode")
NO_TIME = "duration_unknown"


class OptimumBenchmark(Importer):
    name = "optimum-benchmark"
    summary = "reports of optimum-benchmark: kWh per phase"

    def matches(self, file: SourceFile) -> bool:
        head = file.head
        return b'"energy"' in head and b'"efficiency"' in head and b"kWh" in head

    def read(self, file: SourceFile, options: Options, units: Units) -> Iterator[Item]:
        report = file.json()
        report = report.get("report", report) if isinstance(report, dict) else {}
        phases = {name: data for name, data in report.items() if isinstance(data, dict) and data.get("energy")}
        if not phases:
            raise LlmjoulesError(
                f"No energy in {file.name}.", "No phase of the report has any.", "Track it: energy=true"
            )
        config = _beside(file.path, "benchmark_config.json")
        seconds = {
            name: _beside(file.path, f"{name}_codecarbon.json").get("duration") for name in ("prefill", "generate")
        }
        maker = _Maker(file, options, Energies(units), config)
        yield Note("RAM and CPU are CodeCarbon's models; the report is over all samples, not of one inference")
        yield Note("tokens per kWh rest on the cap of new tokens, not on a count: J/token is a lower bound")
        for name in phases:
            if name not in (*INFERENCE, *LOADS):
                yield Note(f"phase {name} is none of an inference: a record of its own")
                yield maker.job(name, phases[name])
        yield maker.inference(phases, seconds)
        for data in phases.values():
            yield from (Unmapped(key) for key in ("memory", "latency", "throughput") if data.get(key))


class _Maker:
    def __init__(self, file: SourceFile, options: Options, energies: Energies, config: Mapping[str, Any]) -> None:
        self._publisher = Publisher(file, TOOL, options)
        self._energies = energies
        backend, scenario, host = (config.get(key) or {} for key in ("backend", "scenario", "environment"))
        boards = host.get("gpu") or []
        generate = scenario.get("generate_kwargs") or {}
        self._samples = scenario.get("num_samples")
        self._new_tokens = options.new_tokens or generate.get("max_new_tokens")
        shapes = scenario.get("input_shapes") or {}
        self._batch = options.batch_size or shapes.get("batch_size")
        name = backend.get("model")
        self._common: dict[str, Any] = {
            "model": self._publisher.model(name, dtype=backend.get("torch_dtype"), parameters=_parameters(name)),
            "system": self._publisher.system(
                boards[0] if boards else None, boards[0] if boards else None, len(boards) or None,
                cpu=(host.get("cpu") or "").strip() or None, device="cuda" if boards else "cpu",
            ),
            "meters": (MeterInfo(name="codecarbon", channels=CHANNELS),),
        }  # fmt: skip

    def job(self, name: str, data: Mapping[str, Any]) -> Item:
        """A phase by itself; its length is not in the report."""
        phase = Phase(name="job", start_s=0.0, end_s=0.0, energy=self._energy(name, data))
        return self._record((phase,), Workload(), setting=name, where=name, flags=[NO_TIME])

    def inference(self, phases: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float | None]) -> Item:
        flags, made, parts, at_s = [], [], [], 0.0
        for name, phase_name in LOADS.items():
            if name in phases:
                made.append(Phase(name=phase_name, start_s=0.0, end_s=0.0, energy=self._energy(name, phases[name])))
                flags.append(f"{NO_TIME}:{phase_name}")
        prefill_s, generate_s = seconds["prefill"], seconds["generate"]
        if prefill_s is None or generate_s is None:
            flags.append(f"{NO_TIME}:inference")
            prefill_s = generate_s = 0.0
        for name, end_s in (("prefill", prefill_s), ("decode", generate_s)):
            if name in phases:
                energy = self._energy(name, phases[name])
                parts.append(Part(name=name, start_s=at_s, end_s=end_s, energy=energy))  # type: ignore[arg-type]
                at_s = end_s
        whole = [_add(channel.id, parts) for channel in CHANNELS]
        made.append(Phase(name="inference", start_s=0.0, end_s=at_s, energy=tuple(whole), parts=tuple(parts)))
        samples, cap, figures = self._samples, self._new_tokens, None
        decode_s = generate_s - prefill_s
        decode_gpu = next((e.joules for p in parts if p.name == "decode" for e in p.energy if e.channel == "gpu"), None)
        if samples and cap and decode_gpu is not None:
            tokens = samples * (cap - 1)  # as the report's tokens/kWh has it
            figures = Figures(
                component="gpu",
                j_per_token=decode_gpu / tokens,
                tokens_per_s=tokens / decode_s if decode_s > 0 else None,
                power_w=decode_gpu / decode_s if decode_s > 0 else None,
            )
            flags.append("lower_bound:gpu")
        work = Workload(new_tokens=cap, batch_size=self._batch, stop="end-of-sequence")
        return self._record(
            tuple(made), work, setting=None, where="", flags=[*flags, "tokens_unknown"], figures=figures
        )

    def _record(
        self, phases: tuple[Phase, ...], work: Workload, *, setting: str | None, where: str, flags: list[str],
        figures: Figures | None = None,
    ) -> Item:  # fmt: skip
        return self._publisher.record(
            line=1,
            where=where,
            workload=work,
            phases=phases,
            figures=figures,
            flags=flags,
            units=self._energies.stated,
            corrections=self._energies.corrections,
            setting=setting,
            **self._common,
        )

    def _energy(self, name: str, data: Mapping[str, Any]) -> tuple[Energy, ...]:
        stated = data["energy"]
        factor = self._energies.factor(name, str(stated.get("unit") or "kWh"))
        values = {"gpu": stated.get("gpu"), "cpu": stated.get("cpu"), "dram": stated.get("ram")}
        return tuple(
            joules(
                channel, value * factor if type(value) in (int, float) else None, reason="missing: it was not tracked"
            )
            for channel, value in values.items()
        )


def _add(channel: str, parts: list[Part]) -> Energy:
    found = [energy for part in parts for energy in part.energy if energy.channel == channel]
    known = [energy.joules for energy in found if energy.joules is not None]
    if not known or len(known) < len(found):
        return joules(channel, None, reason="missing: a part of it was not tracked")
    return joules(channel, sum(known), method="prefill and decode together, over all samples")


def _beside(path: Path, name: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(path.with_name(name).read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _parameters(name: str | None) -> int | None:
    """`…-8B-Instruct` → 8e9: as its name says, for a bound on its rate."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)[Bb](?![\w])", name or "")
    return round(float(found[1]) * 1e9) if found else None


@hookimpl
def llmjoules_importers() -> list[Importer]:
    return [OptimumBenchmark()]
