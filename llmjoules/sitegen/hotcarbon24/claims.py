"""The study's claims in our own words, each with the figures that bear on it and what they say.

Section numbers are the paper's. `Supported`, `Contradicted` and so on are said of the figures, not of anyone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmjoules.sitegen.hotcarbon24.derived import Derived
from llmjoules.sitegen.hotcarbon24.table import Printed
from llmjoules.sitegen.text import digits, listed


class Claim(NamedTuple):
    claim: str
    where: str
    figures: str
    verdict: str
    why: str


def claims(rows: Sequence[Printed], files: Mapping[str, Derived]) -> list[Claim]:
    """In the order of the paper's argument."""
    table = {(row.model, row.gpus): row for row in rows}
    models = list(dict.fromkeys(row.model for row in rows))
    ends = "; ".join(f"{m} {table[m, 1].tokens_per_s:.1f} to {table[m, 8].tokens_per_s:.1f}" for m in models)
    llama = [table["Llama-2", gpus].tokens_per_s / table["Llama-2", 1].tokens_per_s for gpus in (2, 4, 8)]
    lowest = {m: min((table[m, gpus].j_per_token, gpus) for gpus in (1, 2, 4, 8))[1] for m in models}
    faster = [table[m, gpus].tokens_per_s / table[m, 0].tokens_per_s for m in models for gpus in (1, 2, 4, 8)]
    more = [table[m, gpus].joules / table[m, 0].joules for m in models for gpus in (1, 2, 4, 8)]
    rise = {m: table[m, 8].joules / table[m, 1].joules for m in models}
    found = {place: files[row.file] for place, row in table.items() if row.file in files}
    measured = [m for m in models if all((m, gpus) in found for gpus in (1, 2, 4, 8))]
    least = {m: min((found[m, gpus].inference_j, gpus) for gpus in (1, 2, 4, 8))[1] for m in measured}
    rises = {m: found[m, 8].inference_j / found[m, 1].inference_j for m in models if {(m, 1), (m, 8)} <= found.keys()}
    one, laptop, phi, mistral = (
        found[place] for place in (("Llama-2", 1), ("Llama-2", 0), ("Phi-2", 0), ("Mistral", 0))
    )
    cpu_j = phi.cpu_j or 0.0
    watts = {m: table[m, 0].implied_w for m in models}
    rails = {m: found[m, 0].inference_j / found[m, 0].inference_s for m in ("Mistral", "Phi-2")}
    laptops = [file for (_, gpus), file in found.items() if not gpus]
    intervals = [file.sample_ms for file in laptops if file.sample_ms is not None]
    cluster = sorted(file.runs for (_, gpus), file in found.items() if gpus)
    fastest = {m: max((table[m, gpus].tokens_per_s, gpus) for gpus in (1, 2, 4, 8))[1] for m in models}
    return [
        Claim(
            "More GPUs improve throughput substantially",
            "abstract",
            f"Tokens/s from 1 to 8 GPUs: {ends}",
            "Contradicted",
            "The rate falls at every doubling, for every model.",
        ),
        Claim(
            "Llama-2 speeds up almost linearly to 4 GPUs",
            "4.3",
            f"Rate over that of 1 GPU: {', '.join(f'× {x:.2f}' for x in llama)} at 2, 4 and 8",
            "Contradicted",
            "There is no speed-up to measure.",
        ),
        Claim(
            "Mistral turns down from 2 GPUs on, Phi-2 is best at 1",
            "4.3",
            f"Highest rate at: {', '.join(f'{m} {gpus} GPU' for m, gpus in fastest.items())}",
            "True, but no difference",
            "All three models are fastest on one GPU.",
        ),
        Claim(
            "Each model has a best number of GPUs of its own",
            "abstract, 4.3",
            f"Least J/token among the A100 rows: {', '.join(f'{m} {gpus} GPU' for m, gpus in lowest.items())}; by "
            f"one inference in the files: {', '.join(f'{m} {gpus} GPU' for m, gpus in least.items())}",
            "Not supported",
            "The least is always at the edge of what was tried, the same for all three.",
        ),
        Claim(
            "The cluster is 2 to 8 times as fast as the laptop",
            "4.3",
            f"{min(faster):.2f} to {max(faster):.2f} times, as printed",
            "Supported",
            "Rates do not depend on which component was metered. The laptop’s are those of its slowest run.",
        ),
        Claim(
            "At 1.5 to 4 times the laptop’s energy",
            "4.3",
            f"As printed the quotients run from {min(more):.2f} to {max(more):.1f}",
            "Not supported",
            "The printed figures lie on both sides of that range. They are also of different things: the modelled rail "
            "of a laptop’s GPU and the whole board of a server’s. We do not set them against each other.",
        ),
        Claim(
            "The cluster’s energy rises faster than its GPUs",
            "4.3",
            f"8 GPUs over 1, as printed: {', '.join(f'{m} × {x:.2f}' for m, x in rise.items())}; one inference in "
            f"the files: {', '.join(f'{m} × {x:.2f}' for m, x in rises.items())}",
            "Phi-2 yes, Llama-2 no; Mistral barely as printed, and not in the files",
            "Faster than the GPUs means more than × 8.",
        ),
        Claim(
            "The GPU takes most of the energy, for all models",
            "4.2",
            f"Phi-2 on the laptop, per run: GPU rail {digits(phi.inference_j, 1)} J, the process's share of the CPU "
            f"rail {digits(cpu_j, 1)} J",
            "Contradicted for Phi-2",
            f"The GPU has {phi.inference_j / (phi.inference_j + cpu_j) * 100:.0f} % of the two "
            f"({phi.inference_j / phi.inference_s:.2f} W: it hardly worked). For Llama-2 it has "
            f"{laptop.inference_j / (laptop.inference_j + (laptop.cpu_j or 0.0)) * 100:.0f} %.",
        ),
        Claim(
            "Mistral needs more than twice the power of Phi-2 on the laptop",
            "4.2",
            f"Implied by the table: {watts['Mistral']:.1f} W and {watts['Phi-2']:.1f} W; GPU rail in the files: "
            f"{rails['Mistral']:.2f} W and {rails['Phi-2']:.2f} W",
            "Supported by the files, but not by the table",
            f"In the files it is {rails['Mistral'] / rails['Phi-2']:.1f} times. The printed ones come from sums over "
            f"{mistral.runs} and {phi.runs} runs: no sample of Mistral’s trace is above {mistral.highest_w:.1f} W.",
        ),
        Claim(
            "25 runs of each model",
            "3.4",
            f"Runs in the files: {listed(str(file.runs) for file in laptops)} on the laptop, {cluster[0]} to "
            f"{cluster[-1]} per model and number of GPUs",
            "Differs",
            "The files of 8 GPUs of Llama-2 and Mistral hold two sessions, six and a half hours apart.",
        ),
        Claim(
            "Power is sampled every 500 ms",
            "3.3.2",
            f"Length of the laptop’s samples: median {min(m for m, _ in intervals):.0f} to "
            f"{max(m for m, _ in intervals):.0f} ms, longest {max(longest for _, longest in intervals):.0f} ms",
            "Differs",
            "Finer than stated, which helps.",
        ),
        Claim(
            "The energy of one process is tracked",
            "3.3.1",
            "The counter read is NVML’s, of the whole board",
            "Differs",
            "On a board of its own the two are the same but for idle power.",
        ),
        Claim(
            "The model runs data-parallel over the GPUs",
            "3.1",
            "The author’s scripts spread the layers over the GPUs (device_map=\"auto\")",
            "Differs",
            "One GPU works at a time while the others wait, so no answer comes faster: a falling rate is expected.",
        ),
        Claim(
            "Four phases are measured",
            "Algorithm 1",
            f"Labels in the file of Llama-2: {listed(one.phase_j)}",
            "Three for Llama-2",
            "Loading model and pipeline are one phase there.",
        ),
        Claim(
            "200 tokens are generated",
            "3",
            "200 is the most that the scripts allow",
            "Not known",
            "The files hold no count, so J/token and tokens/s are of 200 tokens whatever was produced; some inferences "
            "are much shorter than others, probably because the answer ended early.",
        ),
    ]  # fmt: skip
