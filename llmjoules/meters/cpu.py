"""What the CPU is called, and the thermal design power that its maker states."""

from __future__ import annotations

import csv
import os
import platform
import re
import subprocess
from importlib.resources import files
from math import ceil
from pathlib import Path
from typing import NamedTuple

UNKNOWN_W_PER_THREAD = 4.0  # CodeCarbon 3.3.2's figure for a CPU of which nothing is known


class Tdp(NamedTuple):
    """watts: of the share of the CPU that this system sees. origin: where the figure comes from, in words.

    guessed: nothing is known of this CPU.
    """

    watts: float
    origin: str
    guessed: bool = False


def cpu_name() -> str:
    """The CPU's brand string, or the architecture where the system does not tell one."""
    try:
        if platform.system() == "Linux":
            match = re.search(
                r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE
            )
            if match:
                return " ".join(match.group(1).split())
        elif platform.system() == "Darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
            if found:
                return found
    except (OSError, subprocess.TimeoutExpired):
        pass
    return platform.processor() or platform.machine() or "unknown CPU"


def logical_cpus() -> int:
    return os.cpu_count() or 1


def tdp(powercap: Path, name: str, threads: int) -> Tdp:
    """The best figure there is: the kernel's long-term power limit, the maker's TDP, else a guess that says so.

    threads: logical CPUs that this system sees; a virtual machine is given its share of the CPU's TDP.
    """
    return _from_powercap(powercap) or _from_table(name, threads) or _guess(threads)


def _from_powercap(root: Path) -> Tdp | None:
    """The limit is readable by everyone where the energy counters are not; makers set it to the TDP."""
    limits_uw: dict[str, int] = {}
    for zone in (*root.glob("intel-rapl:*"), *root.glob("intel-rapl/intel-rapl:*")):  # flat, or under its control type
        try:
            name = (zone / "name").read_text().strip()
            is_long_term = (zone / "constraint_0_name").read_text().strip() == "long_term"
            if name.startswith("package") and is_long_term:
                limits_uw[name] = int((zone / "constraint_0_power_limit_uw").read_text())
        except (OSError, ValueError):
            continue
    microwatts = sum(limits_uw.values())
    return Tdp(microwatts / 1e6, "long-term power limit set in the kernel's powercap tree") if microwatts > 0 else None


def _from_table(name: str, threads: int) -> Tdp | None:
    wanted = normalised(name)
    with (files("llmjoules.meters") / "tdp.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if normalised(row["name"]) == wanted:
                whole_w, whole_threads = float(row["tdp_w"]), int(row["threads"])
                if threads >= whole_threads:
                    sockets = ceil(threads / whole_threads)
                    return Tdp(whole_w * sockets, f"TDP of {row['name']} by its maker, {sockets} of them")
                share = f"{threads} of {whole_threads} threads"
                return Tdp(whole_w * threads / whole_threads, f"TDP of {row['name']} by its maker, {share}")
    return None


def _guess(threads: int) -> Tdp:
    origin = f"a guess of {UNKNOWN_W_PER_THREAD:g} W per thread: this CPU is not known"
    return Tdp(UNKNOWN_W_PER_THREAD * threads, origin, guessed=True)


def normalised(name: str) -> str:
    """The maker and the model number alone: `Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz` is `intel xeon gold 6248`."""
    name = re.sub(r"\((?:r|tm)\)|®|™|@.*|\bwith\b.*", " ", name.lower())
    name = re.sub(r"\b(?:cpu|processor|\d+-core|\d+th gen)\b", " ", name)
    return " ".join(name.split())
