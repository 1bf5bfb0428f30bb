"""The ladder of GPUs, end to end: the driver's library and torch's devices are stand-ins, all between them is real."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import Failed, Run
from llmjoules.runner.ladder import gpus_here, rungs
from tests.meters.nvml_stub import AMPERE, Gpu, Install, Stub, rig, stub, uuid  # noqa: F401
from tests.runner.conftest import Cli, Measured, read

# In the order of their PCI addresses, which is not the driver's; at powers that tell them apart, by a sensor that sees
# all of its period: of one that sees a quarter, tokens in step with it would leave no figure.
IN_PCI_ORDER = [Gpu(uuid=uuid(n), bus=n, base=100.0 * n, name="NVIDIA RTX A6000", arch=AMPERE) for n in (1, 2, 3, 4)]
GPUS = IN_PCI_ORDER[::-1]


@pytest.fixture(scope="module")
def four(stub: Stub) -> dict[str, str]:  # noqa: F811
    """The environment of a process on a machine with four GPUs."""
    torch_with_gpus = {"PYTHONPATH": str(Path(__file__).parent / "cuda_stub"), "HF_DEACTIVATE_ASYNC_LOAD": "1"}
    return stub.environment(*GPUS, **torch_with_gpus)


@pytest.fixture(scope="module")
def ladder(four: dict[str, str], measure: Callable[..., Measured]) -> list[Run]:
    words = "--model dummy:llama-tiny --meter nvml --devices 1,4 --repeats 1 --new-tokens 100 --idle 0.1 --warm-up 0"
    measured = measure(*words.split(), env_more=four)
    assert measured.done.returncode == 0, measured.done.stderr
    assert all(isinstance(record, Run) for record in measured.records)
    return measured.records  # type: ignore[return-value]


@pytest.mark.parametrize(("rung", "number"), [(0, 1), (1, 4)])
def test_a_rung_sees_and_measures_its_own_gpus_by_uuid(ladder: list[Run], rung: int, number: int) -> None:
    run = ladder[rung]
    uuids = [gpu.uuid for gpu in IN_PCI_ORDER[:number]]
    assert [accelerator.uuid for accelerator in run.system.accelerators] == uuids
    counters = [channel for meter in run.meters for channel in meter.channels if "@" not in channel.id]
    assert [(channel.id, channel.uuid) for channel in counters] == [(f"gpu:{n}", u) for n, u in enumerate(uuids)]
    assert (run.system.device, run.system.devices_visible) == ("cuda", number)
    assert "device_not_measured:cuda" not in run.flags


def test_accelerates_map_is_recorded_and_names_the_devices_that_are_used(ladder: list[Run]) -> None:
    single, spread = (run.system for run in ladder)
    assert (single.strategy, single.devices_used, single.device_map) == ("single", 1, {"": "cuda:0"})
    assert (spread.strategy, spread.devices_used) == ("device-map", 3)  # as it plans two layers over four
    assert set(spread.device_map.values()) == {"cuda:0", "cuda:1", "cuda:2"}
    assert spread.device_map["lm_head"] == "cuda:2"


def test_the_energy_of_an_idle_gpu_counts_and_stands_apart(ladder: list[Run]) -> None:
    """At steady powers energies are power times time: 100 W alone; 1000 W for all four, 400 W of them unused.

    Bands are of 95 %: of the three one may not hold its truth, and none is off by far.
    """
    off = []
    for run, watts in zip(ladder, (100.0, 1000.0), strict=True):
        total, seconds = run.totals["gpu"], run.phase("inference").duration_s
        off.append(abs(total.joules - watts * seconds) / total.uncertainty_j)
        assert total.channels == tuple(f"gpu:{n}" for n in range(len(run.system.accelerators)))
    assert not isinstance(ladder[0].totals["gpu"].unused_j, float)
    assert ladder[1].totals["gpu"].unused == ("gpu:3",)
    off.append(abs(ladder[1].totals["gpu"].unused_j - 400 * seconds) / total.uncertainty_j)
    assert max(off) <= 2
    assert sum(one > 1 for one in off) <= 1


def test_more_devices_than_there_are_is_refused_before_anything_runs(
    four: dict[str, str], cli: Cli, tmp_path: Path
) -> None:
    words = "measure --study paper --model dummy:llama-tiny --meter nvml --out"
    done = cli(*words.split(), str(tmp_path), env_more=four)  # 1, 2, 4 and 8 devices
    assert done.returncode == 2
    assert "--devices 8 cannot be run" in done.stderr
    assert "--devices 1,2,4" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_ladder_takes_the_gpus_that_this_process_may_use(rig: Install, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    rig(*GPUS)
    assert gpus_here() == [gpu.uuid for gpu in IN_PCI_ORDER]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{uuid(4)},{uuid(2)}")
    assert rungs([1, 2]) == {1: (uuid(4),), 2: (uuid(4), uuid(2))}
    with pytest.raises(LlmjoulesError, match="may use 2 of"):
        rungs([2, 4])
    rig(GPUS[0], Gpu(uuid=uuid(2), bus=2, mig_uuid="MIG-1"))
    with pytest.raises(LlmjoulesError, match="cannot count MIG"):
        rungs([1])


def test_a_rung_that_runs_out_of_memory_is_a_failed_record_and_the_rest_goes_on(cli: Cli, tmp_path: Path) -> None:
    """The system's limit on the memory of each process; a batch of 512 rows does not fit, one row does."""
    study = tmp_path / "memory.toml"
    study.write_text("""
        models = "dummy:llama-tiny"
        threads = 1
        batch = [1, 512]
        prompt_tokens = 1900
        new_tokens = 4
        repeats = 1
        loads = 1
        seed = 2
        warm_up = 0
        idle = 0.1
        meters = "mock"
    """)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2_200_000_000, 2_200_000_000))

    done = cli(*f"measure --study {study} --out {tmp_path}".split(), preexec_fn=limited)
    assert done.returncode == 3, done.stderr
    failed, run = read(tmp_path)[0]
    assert (type(failed), type(run)) == (Failed, Run)
    assert (failed.system.threads, failed.workload.batch_size, run.workload.batch_size) == (1, 512, 1)
    assert failed.error.phase == "inference"
    assert "memory" in failed.error.message
    assert [phase.name for phase in failed.phases][-2:] == ["idle-loaded", "inference"]
    assert "dummy:llama-tiny, 1 thread, run 1: failed in inference" in done.stderr
