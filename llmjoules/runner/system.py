"""What this machine and its software are, as a record states them."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import psutil

from llmjoules.meters.cpu import cpu_name, logical_cpus
from llmjoules.records.record import Accelerator, MeterInfo, System

PACKAGES = ("llmjoules", "torch", "transformers", "accelerate", "tokenizers", "safetensors")


def software() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def bare_system(name: str | None) -> System:
    """The machine without its accelerators: what can be said before torch is imported."""
    cpu = cpu_name()
    return System(
        name=name or f"{cpu}, {logical_cpus()} CPUs",
        cpu=cpu,
        memory_bytes=psutil.virtual_memory().total,
        os=f"{platform.system()} {platform.release()}",
    )


def system_without_model(name: str | None, torch: Any, device: str) -> System:
    """Once torch is imported: where a model can only be on the CPU, so much is known before it is there."""
    bare = bare_system(name)
    if device != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available()):
        return bare
    return msgspec.structs.replace(bare, device="cpu", threads=torch.get_num_threads())


def full_system(name: str | None, torch: Any, model: Any) -> System:
    """The machine with the devices that torch sees and those that hold a part of the model."""
    bare = bare_system(name)
    used = used_devices(model)
    kind = used[0].partition(":")[0]
    accelerators = _accelerators(torch, kind)
    visible = len(accelerators) or 1
    return System(
        name=name or (accelerators[0].name if accelerators else bare.name),
        cpu=bare.cpu,
        memory_bytes=bare.memory_bytes,
        os=bare.os,
        accelerators=accelerators,
        device=kind,
        devices_visible=visible,
        devices_used=len(used),
        device_map=_device_map(model),
        strategy="single" if visible == 1 else "device-map",
        threads=torch.get_num_threads() if kind == "cpu" else None,
    )


def with_power_limits(system: System, meters: Iterable[MeterInfo]) -> System:
    """The power limit of each accelerator, as the meter that reads it told (by UUID)."""
    limits_w: dict[str, float] = {}
    for meter in meters:
        told = meter.options.get("power_limits_w") or {}
        limits_w |= {
            channel.uuid: told[channel.id] for channel in meter.channels if channel.uuid and channel.id in told
        }
    accelerators = tuple(
        msgspec.structs.replace(
            accelerator, power_limit_w=limits_w.get(accelerator.uuid or "", accelerator.power_limit_w)
        )
        for accelerator in system.accelerators
    )
    return msgspec.structs.replace(system, accelerators=accelerators)


def drivers(meters: Iterable[MeterInfo]) -> dict[str, str | None]:
    """The driver's version, where a meter told it."""
    return {"driver": next((str(meter.options["driver"]) for meter in meters if meter.options.get("driver")), None)}


def used_devices(model: Any) -> list[str]:
    """The accelerators that hold a part of the model, or else `cpu` alone; offloaded parts do not count as devices."""
    devices = sorted(set(_device_map(model).values()))
    accelerators = [device for device in devices if device not in ("cpu", "disk", "meta")]
    return accelerators or ["cpu"]


def offloaded(model: Any) -> list[str]:
    """Where parts of a model lie that did not fit on its accelerators, or in memory."""
    places = set(_device_map(model).values())
    return sorted(places & {"disk"} | (places & {"cpu"} if len(places) > 1 else set()))


def partly_absent(model: Any) -> bool:
    """Are some weights not in memory at all (offloaded to disk), so that nothing has read them?"""
    return any(weight.is_meta for weight in model.parameters())


def _device_map(model: Any) -> dict[str, str]:
    """accelerate's map of modules to devices; on one device transformers sets none."""
    mapped = getattr(model, "hf_device_map", None) or {"": model.device}
    return {module: _device(device) for module, device in mapped.items()}


def _device(device: Any) -> str:
    return f"cuda:{device}" if isinstance(device, int) else str(device)


def _accelerators(torch: Any, kind: str) -> tuple[Accelerator, ...]:
    if kind == "mps":
        return (Accelerator(name=cpu_name()),)
    if kind != "cuda":
        return ()
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        uuid = getattr(properties, "uuid", None)
        found.append(Accelerator(name=properties.name, uuid=f"GPU-{uuid}" if uuid is not None else None))
    return tuple(found)
