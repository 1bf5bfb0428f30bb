"""GPUs that are not there, for a torch without CUDA: Python finds this in PYTHONPATH, the import of torch sets it off.

It stands where torch meets the driver. CUDA_VISIBLE_DEVICES says which GPUs there are, by UUID. What is put on one
stays in the memory of the CPU and is computed there, but says that it is on its GPU; so transformers and accelerate
plan, load, hook and run a model over several of them as they do anywhere.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

BYTES = 80 * 10**9  # of each


def _put_gpus_into(torch: Any) -> None:
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    gpus = [SimpleNamespace(name="A GPU", uuid=uuid.removeprefix("GPU-"), total_memory=BYTES) for uuid in named if uuid]
    answers = {
        "is_available": bool(gpus),
        "is_initialized": bool(gpus),
        "device_count": len(gpus),
        "current_device": 0,
        "get_device_capability": (9, 0),
        "mem_get_info": (BYTES, BYTES),
        "memory_reserved": 0,
        "memory_allocated": 0,
        "synchronize": None,
        "empty_cache": None,
        "set_device": None,
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    torch.cuda.get_device_properties = lambda device=0: gpus[device if isinstance(device, int) else device.index or 0]
    _on_the_cpu(torch).__enter__()


def _gpu(value: Any) -> int | None:
    """The number of the GPU that a device names; None for anything else."""
    import torch

    if isinstance(value, str) and value.startswith("cuda"):
        value = torch.device(value)
    return value.index or 0 if isinstance(value, torch.device) and value.type == "cuda" else None


def _with_devices(moves: bool, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Plain numbers mean GPUs where a device is due."""
    import torch

    placed = list(args)
    if moves and placed[1:] and type(placed[1]) is int:
        placed[1] = torch.device("cuda", placed[1])
    if type(kwargs.get("device")) is int:
        kwargs = kwargs | {"device": torch.device("cuda", kwargs["device"])}
    return placed, kwargs


def _on_the_cpu(torch: Any) -> Any:
    """A mode in which every call of torch that names a GPU is made on the CPU."""
    from torch.overrides import TorchFunctionMode

    homes: dict[int, int] = {}  # by the addresses of storages: the GPU that they say they are on
    cpu = torch.device("cpu")

    def home(tensor: Any) -> Any:
        number = None if tensor.is_meta else homes.get(tensor.untyped_storage().data_ptr())
        return None if number is None else torch.device("cuda", number)

    class OnTheCpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func == torch.Tensor.device.__get__:
                return home(args[0]) or func(*args)
            if func is torch.device and type(args[0]) is int:
                return torch.device("cuda", args[0])
            moves = func in (torch.Tensor.to, torch.Tensor.cuda)
            args, kwargs = _with_devices(moves, args, kwargs or {})
            asked = [_gpu(value) for value in (*(args[1:2] if moves else ()), kwargs.get("device"))]
            gpu = next((number for number in asked if number is not None), None)
            if gpu is None:
                return func(*args, **kwargs)
            kwargs = {name: cpu if _gpu(value) is not None else value for name, value in kwargs.items()}
            made = func(*(cpu if _gpu(value) is not None else value for value in args), **kwargs)
            if isinstance(made, torch.Tensor) and not made.is_meta:
                made = made.clone() if args and made is args[0] else made
                homes[made.untyped_storage().data_ptr()] = gpu
            return made

    return OnTheCpu()


class _AfterTorch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports torch as it is, and then puts the GPUs into it."""

    real: Any = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != "torch":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            self.real, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> Any:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.real.exec_module(module)
        _put_gpus_into(module)


sys.meta_path.insert(0, _AfterTorch())
