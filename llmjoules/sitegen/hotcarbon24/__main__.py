"""`python -m llmjoules.sitegen.hotcarbon24 table`: records of Table 1. `… recompute FOLDER`: figures of the files."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from llmjoules.records.errors import LlmjoulesError
from llmjoules.records.record import encode
from llmjoules.sitegen.hotcarbon24.derived import derived
from llmjoules.sitegen.hotcarbon24.recompute import recompute, with_kept
from llmjoules.sitegen.hotcarbon24.table import records


def main(words: list[str]) -> int:
    match words:
        case ["table"]:
            sys.stdout.buffer.writelines(encode(record) + b"\n" for record in records())
        case ["recompute", folder]:
            try:
                new, old = recompute(Path(folder)), derived()
            except LlmjoulesError as error:
                sys.stderr.write(f"{error}\n")
                return 2
            both = with_kept(new, old)
            sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(both), indent=1) + b"\n")
            same = sum(row in old.rows for row in new.rows)
            sys.stderr.write(
                f"{len(new.rows)} rows recomputed, {same} of them as before; {len(both.rows) - len(new.rows)} kept, as "
                "their files are not there\n"
            )
        case _:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
