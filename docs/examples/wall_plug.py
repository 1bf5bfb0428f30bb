"""An outlet logger that keeps its total in a file, in watt-hours: llmjoules measure --plugin wall_plug.py …"""

from pathlib import Path

import msgspec

from llmjoules.meters import Channel, Meter, Unavailable, hookimpl

JOULES_PER_WH = 3600.0


class WallPlugOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str = "/run/wall-plug/total_wh"


class WallPlug(Meter):
    name = "wall-plug"
    summary = "An outlet logger that keeps its total in watt-hours"
    Options = WallPlugOptions

    def probe(self) -> list[Channel]:
        try:
            self.read()
        except (OSError, ValueError) as error:
            why = f"{self.options.path}: {error}."
            raise Unavailable("No total of the outlet.", why, "--meter-option wall-plug.path=FILE") from error
        step_j = 0.001 * JOULES_PER_WH  # the logger writes thousandths of a watt-hour, once a second
        return [Channel(id="wall", component="wall", kind="counter", period_s=1.0, resolution=step_j, gain=0.02)]

    def read(self) -> dict[str, float]:
        return {"wall": JOULES_PER_WH * float(Path(self.options.path).read_text())}


@hookimpl
def llmjoules_meters() -> list[type[Meter]]:
    return [WallPlug]
