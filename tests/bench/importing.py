"""How fast another tool's table becomes records, and whether memory stays flat."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from llmjoules.records.importers.importing import import_files
from tests.bench.memory import peak_megabytes

ROOT = Path(__file__).parents[2]
Row = tuple[str, str, str, str, str]
MAPPING = """
columns = {model = "model", prompt_tokens = "in", generated_tokens = "out", load = "process", repeat = "no"}
values = {system = "lab", accelerator = "NVIDIA A40", devices = 1, batch_size = 1}
energy = [{column = "mJ", unit = "mJ", component = "gpu"}]
time = [{column = "ms", unit = "ms"}]
"""


def importing(few: int = 10_000, many: int = 100_000) -> Iterator[Row]:
    """A CSV with a record to each row, in a process of its own; memory against a tenth of the rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lab.toml").write_text(MAPPING)
        found = {rows: import_in_a_process(folder, rows) for rows in (few, many)}
    (_, _, less_mb), (wall_s, cpu_s, peak_mb) = found[few], found[many]
    met = "met" if wall_s <= 10 else "missed"
    yield f"import of {many} rows", f"{wall_s:.1f} s", "10 s", met, f"{cpu_s:.1f} s of it on the processor"
    ratio = peak_mb / less_mb
    per_row = (peak_mb - less_mb) / (many - few) * 1e6
    yield (
        "peak memory, most over fewest",
        f"{ratio:.2f}",
        "2",
        "met" if ratio <= 2 else "missed",
        (f"{peak_mb:.0f} MB, {per_row:.0f} B a row: ids, and rows seen"),
    )


def import_in_a_process(folder: Path, rows: int) -> tuple[float, float, float]:
    """Seconds, seconds of processor, and peak megabytes."""
    with (folder / f"{rows}.csv").open("w") as stream:
        stream.write("model,in,out,process,no,mJ,ms\n")
        stream.writelines(
            f"tiny,8,100,p{k // 10},{k % 10},{500000 + k % 977}.5,{2500 + k % 331}\n" for k in range(rows)
        )
    command = [sys.executable, "-m", "tests.bench.importing", str(folder), str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    wall_s, cpu_s, peak_mb = map(float, done.stdout.split())
    return wall_s, cpu_s, peak_mb


def import_once(folder: Path, rows: int) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    settings = {"mapping": str(folder / "lab.toml")}
    report = import_files("csv", [folder / f"{rows}.csv"], folder / f"out-{rows}", settings=settings)
    assert (report.new, report.bad) == (rows, 0)
    print(time.perf_counter() - wall, time.process_time() - cpu, peak_megabytes())


if __name__ == "__main__":
    import_once(Path(sys.argv[1]), int(sys.argv[2]))
