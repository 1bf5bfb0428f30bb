"""Stands in for powermetrics: the same flags, stream and faults, and a power that is known at every instant.

Run as a program; its modes come in SIM_MODE, separated by commas. Imported by tests for `energy_j` alone.
"""

import argparse
import json
import os
import plistlib
import signal
import sys
import time
from math import cos, pi

KNOWN_SAMPLERS = {"cpu_power", "gpu_power", "ane_power", "tasks"}
CPU_W, CPU_WAVE_W, WAVE_S, GPU_LOW_W, GPU_HIGH_W, GPU_TURN_S, ANE_W, DRAM_W = 6.0, 3.0, 3.0, 4.0, 20.0, 1.3, 0.5, 2.0


def total_j(part, t_s):
    """Energy since the clock began; t_s is time.monotonic()."""
    if part == "cpu":  # 6 W and a wave of 3 W
        return CPU_W * t_s - CPU_WAVE_W * WAVE_S / (2 * pi) * cos(2 * pi * t_s / WAVE_S)
    if part == "gpu":  # 4 W and 20 W in turn
        turns, rest_s = divmod(t_s, 2 * GPU_TURN_S)
        return turns * GPU_TURN_S * (GPU_LOW_W + GPU_HIGH_W) + (
            GPU_LOW_W * min(rest_s, GPU_TURN_S) + GPU_HIGH_W * max(rest_s - GPU_TURN_S, 0.0)
        )
    return {"ane": ANE_W, "dram": DRAM_W}[part] * t_s


def energy_j(part, start_s, end_s):
    return total_j(part, end_s) - total_j(part, start_s)


def mode(name):
    """The value of a mode `name` or `name=value`; None where it is not on."""
    for item in os.environ.get("SIM_MODE", "").split(","):
        key, _, value = item.partition("=")
        if key == name:
            return value
    return None


def processor(start_s, end_s):
    millijoules = {part: round(1e3 * energy_j(part, start_s, end_s)) for part in ("cpu", "gpu", "ane", "dram")}
    elapsed_s = end_s - start_s
    if mode("vm") is not None:
        return {"clusters": []}
    if mode("intel") is not None:
        package_j = (millijoules["cpu"] + millijoules["gpu"]) / 1e3
        return {"package_joules": package_j, "cpu_joules": millijoules["cpu"] / 1e3, "igpu_watts": 1.0}
    old = mode("macos12") is not None
    found = {}
    for part in ("cpu", "gpu", "ane", *(["dram"] if old else [])):
        found[f"{part}_energy"] = millijoules[part]
        found[f"{part}_power"] = millijoules[part] / elapsed_s
    if old:
        found["package_energy"] = 7 * sum(millijoules.values())  # it is not the sum of its parts
    else:
        found["combined_power"] = sum(millijoules[part] for part in ("cpu", "gpu", "ane")) / elapsed_s
    name = "M0-Cluster" if mode("m5") is not None else "E-Cluster"
    return found | {"clusters": [{"name": name, "freq_hz": 1.2e9, "idle_ratio": 0.5}]}


def tasks():
    """SIM_TASKS: rows of [pid, parent, energy impact, CPU time in ns]; our own rows stand beside them."""
    rows = [
        ("kernel_task", 0, 0, 5.0, 40_000_000),
        ("DEAD_TASKS", -1, 0, 1.0, 1_000_000),
        ("powermetrics", os.getpid(), os.getppid(), 4.0, 9_000_000),
        ("Tom & Jerry <x>", 391, 1, 10.0, 50_000_000),
    ]
    rows += [("python", *row) for row in json.loads(os.environ.get("SIM_TASKS", "[]"))]
    keys = ("name", "pid", "parent_pid", "energy_impact", "cputime_ns")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def record(start_s, end_s, with_tasks):
    found = {"is_delta": True, "elapsed_ns": round(1e9 * (end_s - start_s)), "hw_model": "Mac99,1"}
    if with_tasks:
        rows = tasks()
        found["tasks"] = rows
        if mode("no-all-tasks") is None:
            sums = {key: sum(row[key] for row in rows) for key in ("energy_impact", "cputime_ns")}
            found["all_tasks"] = {"pid": -2, "name": "ALL_TASKS"} | sums
    found["processor"] = processor(start_s, end_s)
    if "gpu_energy" in found["processor"]:
        found["gpu"] = {"freq_hz": 388.8, "gpu_energy": found["processor"]["gpu_energy"]}
    document = plistlib.dumps(found, sort_keys=False)
    return document.replace(b"&amp;", b"&") if mode("ampersand") is not None else document


def text_record(start_s, end_s, with_tasks):
    """As macOS 12 writes it, without the lines that nobody reads."""
    elapsed_s = end_s - start_s
    found = processor(start_s, end_s)
    lines = ["", f"*** Sampled system activity (Fri Nov 10 12:37:08 2023 +0100) ({1e3 * elapsed_s:.2f}ms elapsed) ***"]
    if with_tasks:
        rows = [(row["name"], row["pid"], row["cputime_ns"] / 1e6 / elapsed_s, row["energy_impact"]) for row in tasks()]
        rows.append(("ALL_TASKS", -2, sum(row[2] for row in rows), sum(row[3] for row in rows)))
        lines += ["", "*** Running tasks ***", ""]
        lines += ["Name                               ID     CPU ms/s  User%  Energy Impact"]
        lines += [f"{name:<34} {pid:<6} {ms_per_s:<9.2f} 65.49  {impact:.2f}" for name, pid, ms_per_s, impact in rows]
    lines += ["", "**** Processor usage ****", ""]
    if "package_joules" in found:
        watts = found["package_joules"] / elapsed_s
        lines += [f"Intel energy model derived package power (CPUs+GT+SA): {watts:.2f}W"]
    else:
        powers_mw = {part: found[f"{part}_energy"] / elapsed_s for part in ("cpu", "gpu", "ane")}
        lines += [f"E-Cluster Power: {powers_mw['cpu'] / 3:.0f} mW"]
        lines += [f"{part.upper()} Power: {power_mw:.0f} mW" for part, power_mw in powers_mw.items()]
        lines += [f"Combined Power (CPU + GPU + ANE): {sum(powers_mw.values()):.0f} mW"]
    return ("\n".join(lines) + "\n").encode()


def fail(text, status=1):
    print(text, file=sys.stderr, flush=True)
    sys.exit(status)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samplers", required=True)
    parser.add_argument("--show-process-energy", action="store_true")
    if mode("text-only") is None:
        parser.add_argument("-f", required=True, choices=["plist"])
    parser.add_argument("-b", required=True, choices=["0"])
    parser.add_argument("-i", required=True, type=int)
    parser.add_argument("-n", type=int, default=0)
    options = parser.parse_args()
    samplers = set(options.samplers.split(","))
    if mode("not-root") is not None:
        fail("powermetrics must be invoked as the superuser")
    unknown = samplers - (KNOWN_SAMPLERS - ({"ane_power"} if mode("no-ane") is not None else set()))
    if unknown:
        fail(f"powermetrics: unrecognized sampler: {min(unknown)}", 64)
    if mode("deaf") is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN if mode("epipe") is not None else signal.SIG_DFL)
    if mode("slow") is not None:
        time.sleep(2.0)
    write(options, "tasks" in samplers)


def write(options, with_tasks):
    out = sys.stdout.buffer
    trial = options.n == 1
    replayed = []
    if mode("replay"):
        with open(mode("replay"), "rb") as capture:
            replayed = capture.read().split(b"\0")
    start_s, count = time.monotonic(), 0
    while not options.n or count < options.n:
        if mode("stall") is not None and count == 3 and not trial:
            time.sleep(60)
        time.sleep(options.i / 1e3 + 0.008)
        end_s = time.monotonic()
        form = record if mode("text-only") is None else text_record
        document = replayed[count % len(replayed)] if replayed else form(start_s, end_s, with_tasks)
        try:
            if mode("truncated") is not None and count == 3 and not trial:
                out.write(b"\0" + document[: len(document) // 2])
                out.flush()
                sys.exit(0)
            out.write((b"\0" if count and mode("text-only") is None else b"") + document)
            out.flush()
        except BrokenPipeError:
            os._exit(74)
        start_s, count = end_s, count + 1
        if mode("chatter") is not None:
            print("Second underflow occured.\n" * 5000, file=sys.stderr, flush=True)
        if mode("dies") is not None and count == 3 and not trial:
            os.kill(os.getpid(), getattr(signal, mode("dies")))


if __name__ == "__main__":
    main()
