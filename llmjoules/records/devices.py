"""What accelerators can draw at all, for telling an impossible figure from a possible one.

Limits are the highest board power in the makers' data sheets; idle is lower than any trace of a powered-on board that
is known to us shows; bandwidth is that of the memory, from the data sheets.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

# In the note of a channel whose figure is its maker's model, and whose error on another machine nobody states.
ONE_MACHINE_ONLY = "not for comparing machines"
APPLES_MODEL = f"Apple's own model of the energy, not a sensor: {ONE_MACHINE_ONLY}"


class Device(NamedTuple):
    """idle_w, limit_w: of one board; None where not known. bandwidth_b_per_s: of its memory."""

    idle_w: float | None
    limit_w: float | None
    bandwidth_b_per_s: float | None = None


# The first that is found in the name counts.
_DEVICES = tuple(
    (re.compile(pattern, re.IGNORECASE), device)
    for pattern, device in (
        (r"B300", Device(60, 1400, 8e12)),
        (r"B200", Device(60, 1200, 8e12)),
        (r"GH200", Device(50, 1000, 4.9e12)),
        (r"H200", Device(50, 700, 4.8e12)),
        (r"H100.*(PCIe|NVL)", Device(35, 400, 3.94e12)),
        (r"H100", Device(50, 700, 3.36e12)),
        (r"A100.*PCIe", Device(25, 300, 1.94e12)),
        (r"A100", Device(45, 400, 2.04e12)),  # idle boards of 40 GB: 52 to 60 W in nvidia-smi traces
        (r"V100", Device(20, 300, 0.9e12)),  # SXM2 300 W, PCIe 250 W
        (r"L40S?", Device(15, 350, 0.864e12)),
        (r"A40\b", Device(15, 300, 0.696e12)),
        (r"\bL4\b", Device(8, 72, 0.3e12)),
        (r"\bT4\b", Device(5, 70, 0.32e12)),
        (r"RTX 4080 Laptop", Device(1, 175, 0.432e12)),
        (r"RTX 4090", Device(5, 600, 1.008e12)),
        (r"RTX 3090", Device(5, 450, 1.008e12)),
        (r"M1 Pro GPU", Device(None, 26, 0.2e12)),  # traces hold 20 to 22 W at full load
    )
)


@lru_cache(maxsize=256)
def device_named(name: str) -> Device | None:
    """What is known of the device that a name speaks of."""
    return next((device for pattern, device in _DEVICES if pattern.search(name)), None)
