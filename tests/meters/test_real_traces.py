"""Power traces that the study's author published, integrated by our arithmetic, against answers from elsewhere."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from llmjoules.meters.window import PowerCurve
from llmjoules.records.record import Channel

DATA = Path(__file__).parents[3] / "shared" / "data"
SMI = "energy-inference/nvidia-smi"
AMD = "energy-inference/amduprof/falcon-7b-2024-04-02-07-36-20-timechart.csv.gz"

pytestmark = pytest.mark.skipif(not (DATA / "EXPECTED.json").is_file(), reason="needs ../shared/data")


def expected(name: str) -> dict[str, Any]:
    return json.loads((DATA / "EXPECTED.json").read_text())[name]


def lines(name: str) -> list[str]:
    raw = (DATA / name).read_bytes()
    return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode().splitlines()


def joules(samples: list[tuple[float, float]]) -> float:
    """Every sample counts (period 0: how often the device renews its figure does not matter for the comparison)."""
    curve = PowerCurve(Channel(id="x", component="gpu", kind="power", unit="W"))
    for t_s, power_w in samples:
        curve.add(t_s, power_w)
    found = curve.energy(samples[0][0], samples[-1][0])
    assert found.joules is not None, found.reason
    return found.joules


def nvidia_smi(name: str, gpus: int) -> list[list[tuple[float, float]]]:
    """One series a GPU: rows of several GPUs take turns without saying whose they are; the last line may be cut."""
    series: list[list[tuple[float, float]]] = [[] for _ in range(gpus)]
    rows = [line.split(", ") for line in lines(name)[1:]]
    for number, row in enumerate(row for row in rows if len(row) == 4 and row[3].endswith("%")):
        at = datetime.strptime(row[0], "%Y/%m/%d %H:%M:%S.%f").timestamp()
        series[number % gpus].append((at, float(row[1].removesuffix(" W"))))
    return series


@pytest.mark.parametrize(
    "file", ["falcon-7b-2024-04-02-07-36-20-nvidia-smi.csv", "falcon-7b-2024-04-03-10-46-12-nvidia-smi.csv"]
)
def test_a_trace_of_one_gpu_gives_the_joules_of_an_independent_trapezoid(file: str) -> None:
    (samples,) = nvidia_smi(f"{SMI}/{file}", 1)
    assert joules(samples) == pytest.approx(expected(f"{SMI}/{file}")["trapezoid_j"], rel=1e-6)


def test_a_trace_of_three_gpus_gives_the_joules_of_each() -> None:
    name = f"{SMI}/falcon-40b-2024-04-10-09-01-30-nvidia-smi.csv.gz"
    found = [joules(samples) for samples in nvidia_smi(name, 3)]
    assert found == pytest.approx(expected(name)["per_gpu_trapezoid_j"], rel=1e-6)


def test_a_trace_of_two_sockets_gives_the_joules_of_each() -> None:
    rows = [line.split(",") for line in lines(AMD)]
    start = next(i for i, row in enumerate(rows) if row[0] == "RecordId")
    table = [row for row in rows[start + 1 :] if len(row) >= 4]
    times_s = [seconds(row[1]) for row in table]
    for socket in (0, 1):
        column = rows[start].index(f"socket{socket}-package-power")
        samples = list(zip(times_s, (float(row[column]) for row in table), strict=True))
        assert joules(samples) == pytest.approx(expected(AMD)[f"socket{socket}_trapezoid_j"], rel=1e-6)


def seconds(clock: str) -> float:
    hours, minutes, whole, milliseconds = map(int, clock.split(":"))
    return 3600 * hours + 60 * minutes + whole + milliseconds / 1000
