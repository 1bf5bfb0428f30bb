"""The record: one JSON object a line, in three kinds (`run`, `failed`, `published`).

Keys are the contract with published data; see docs/record.md. Seconds in `start_s`, `end_s` and `times_s` count from
`clock.monotonic_s`. A figure that could not be measured is null and says why in `reason`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

SCHEMA_VERSION = 1
SCHEMA = f"llmjoules/{SCHEMA_VERSION}"

NonNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Name: TypeAlias = Annotated[str, Meta(min_length=1)]

Component: TypeAlias = Literal["gpu", "cpu", "dram", "ane", "chip", "host", "wall"]
Extent: TypeAlias = Literal["device", "module", "process-share"]
ChannelKind: TypeAlias = Literal["counter", "power", "interval", "model"]
Source: TypeAlias = Literal["measured", "modelled", "simulated"]
SOURCES: tuple[Source, ...] = ("measured", "modelled", "simulated")  # those that claim most come first
COMPONENTS: tuple[str, ...] = ("gpu", "chip", "cpu", "host", "wall", "dram", "ane")  # as pages order them
PhaseName: TypeAlias = Literal[
    "idle", "import", "tokenizer", "model", "pipeline", "model+pipeline", "warm-up", "idle-loaded", "inference",
    "idle-after", "job",
]  # fmt: skip  # model+pipeline, job: stretches that another tool does not divide


class Channel(Struct, frozen=True, kw_only=True):
    """One thing a meter measures: which part of the machine, how, and how well.

    id: `gpu:0`, `cpu:0` (a package), `dram:0`, `chip`, `host`, `wall`, …
    unit: of the readings, joules (a running total) or watts.
    period_s: how often the device renews its reading; 0 if a reading is never stale.
    resolution: the smallest step of a reading, in `unit`.
    duty: the part of each period in which the sensor looks; what happens in the rest it does not see.
    gain: systematic error of the channel as a fraction, which no number of repeats reduces; null if unknown.
    wraps_at_j: where a running total starts again at zero; null if it does not wrap.
    contains: ids of the channels that this one includes, so that overlapping ones are never added up.
    """

    id: Name
    component: Component
    kind: ChannelKind
    unit: Literal["J", "W"] = "J"
    extent: Extent = "device"
    source: Source = "measured"
    period_s: NonNegative = 0.0
    resolution: NonNegative = 0.0
    duty: Annotated[float, Meta(gt=0, le=1)] = 1.0
    gain: NonNegative | None = None
    wraps_at_j: Annotated[float, Meta(gt=0)] | None = None
    contains: tuple[str, ...] = ()
    uuid: str | None = None
    pci: str | None = None
    note: str | None = None


class MeterInfo(Struct, frozen=True, kw_only=True):
    """A meter as it took part in a run. options: what decides its figures, such as a TDP and where that came from."""

    name: Name
    channels: tuple[Channel, ...]
    options: dict[str, Any] = {}


class Energy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Energy of one channel over one window.

    joules: None when it could not be measured; then `reason` holds a code, a colon and a sentence.
    uncertainty_j: 95 % half-width of what the method can be off by in this window; the channel's gain comes on top.
    largest_gap_s: between two readings, of power that was integrated.
    """

    channel: Name
    joules: NonNegative | None
    uncertainty_j: NonNegative | None = None
    method: str | None = None
    reason: str | None = None
    largest_gap_s: NonNegative | None = None

    def _repr_html_(self) -> str:
        from llmjoules.records.notebook import energies_html

        return energies_html("Energy", (self,))


class Part(Struct, frozen=True, kw_only=True):
    """A stretch inside a phase: `prefill` ends when the first output token is known, `decode` with the last one."""

    name: Literal["prefill", "decode", "detokenize"]
    start_s: float
    end_s: float
    energy: tuple[Energy, ...] = ()


class Phase(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: PhaseName
    start_s: float
    end_s: float
    energy: tuple[Energy, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class Load(Struct, frozen=True):
    """The process that ran this repeat. first: this run did the loading."""

    id: Name
    first: bool


class Clock(Struct, frozen=True):
    """One instant in both clocks: the zero of all `…_s` times of the record."""

    unix_s: float
    monotonic_s: float


class Model(Struct, frozen=True, kw_only=True):
    """weights_mapped: the loader only mapped the weight file, to be read when first used; None if not known."""

    name: Name
    architecture: str | None = None
    parameters: Count | None = None
    dtype: str | None = None
    weights: Literal["real", "dummy"] | None = None
    revision: str | None = None
    weights_mapped: bool | None = None
    materialized: bool = False


class Workload(Struct, frozen=True, kw_only=True):
    """prompt_tokens: of one row of the batch (the longest); new_tokens: asked for, per row."""

    prompt_tokens: Count | None = None
    new_tokens: Count | None = None
    batch_size: Count | None = None
    prompt_sha256: str | None = None
    decoding: str | None = None
    stop: Literal["new-tokens", "end-of-sequence"] | None = None


class Accelerator(Struct, frozen=True, kw_only=True):
    name: Name
    uuid: str | None = None
    power_limit_w: NonNegative | None = None


class System(Struct, frozen=True, kw_only=True):
    """devices_visible and devices_used count accelerators, or processors of kind CPU (1) where there is none."""

    name: Name
    cpu: str | None = None
    memory_bytes: Count | None = None
    os: str | None = None
    accelerators: tuple[Accelerator, ...] = ()
    device: str | None = None
    devices_visible: Count | None = None
    devices_used: Count | None = None
    device_map: dict[str, str] | None = None
    strategy: str | None = None
    threads: Count | None = None


class Tokens(Struct, frozen=True, kw_only=True):
    """Counted from token ids over the whole batch.

    generated: computed ones; useful: up to and with each row's end of sequence.
    times_s: when each step's token was ready.
    """

    prompt: Count
    generated: Count
    useful: Count
    times_s: tuple[float, ...] = ()


class Total(Struct, frozen=True, kw_only=True):
    """Energy of one component over the inference; `channels` are those added up.

    unused_j: the part of it that devices took which hold no part of the model, though the run had them to itself;
    unused: their channels.
    """

    joules: NonNegative | None
    uncertainty_j: NonNegative | None = None
    source: Source
    channels: tuple[str, ...] = ()
    reason: str | None = None
    unused_j: NonNegative | UnsetType = UNSET
    unused: tuple[str, ...] | UnsetType = UNSET


class TraceLine(Struct, frozen=True):
    """Power of one channel per bucket, in watts; null where it is not known. The area under `mean_w` is the energy."""

    mean_w: tuple[float | None, ...]
    min_w: tuple[float | None, ...]
    max_w: tuple[float | None, ...]


class Trace(Struct, frozen=True):
    """edges_s: n+1 bucket edges; every edge of a phase and of a part is one of them."""

    edges_s: tuple[float, ...]
    channels: dict[str, TraceLine]


class DeviceState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decided how fast and how hot a device ran at one instant; what could not be read is left out.

    throttling: why its clocks are held down, in words; empty if they are not. other_processes: that compute on it.
    """

    at_s: float
    temperature_c: float | None = None
    sm_clock_mhz: NonNegative | None = None
    memory_clock_mhz: NonNegative | None = None
    power_limit_w: NonNegative | None = None
    throttling: tuple[str, ...] | None = None
    other_processes: Count | None = None


class Call(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One discarded generation of the warm-up. parts: as of an inference; of the first call alone."""

    start_s: float
    end_s: float
    energy: tuple[Energy, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class WarmUp(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The calls of the warm-up phase, the first of which pays for compiling, choosing kernels and lazy weights.

    ended: why there were no more: so many were asked for, the last ones agreed, or there was no more patience.
    spread: of the last calls that were compared, (largest - smallest) / mean; by: of their energy (of `component`) or,
    where energies had no figure good enough, of their time; limit: what it had to come down to.
    """

    rule: Literal["fixed", "auto"]
    ended: Literal["number", "settled", "most_calls", "most_time"]
    calls: tuple[Call, ...]
    by: Literal["energy", "time"] | None = None
    component: str | None = None
    spread: NonNegative | None = None
    limit: NonNegative | None = None


class CoolDown(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Waiting for devices to come down to `target_c`, by place, before a repeat.

    outcome: `cool` (they are, within a degree), `limit` (they were not when time was up), `off` (nobody waited, though
    something was hotter), `no_temperature` (none can be read here).
    """

    limit_s: NonNegative
    waited_s: NonNegative
    outcome: Literal["cool", "limit", "off", "no_temperature"]
    target_c: dict[str, float] = {}


class Conditions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The machine right before a repeat, read outside its phases; what could not be read is left out.

    temperatures_c: by channel, and of the hottest CPU sensor as `cpu`. devices: what meters last told of theirs.
    start_delay_s: drawn at random up to the period of the slowest channel, so that repeats do not keep step with it.
    memory_stalled: part of the last ten seconds in which some task waited for memory (Linux PSI).
    other_cpus: how many CPUs the programs of others kept busy on average, during the phases `idle` and `inference`.
    """

    at_s: float
    start_delay_s: NonNegative
    cool_down: CoolDown
    temperatures_c: dict[str, float] = {}
    devices: dict[str, DeviceState] = {}
    cpus: Count | None = None
    cpu_frequency_mhz: NonNegative | None = None
    memory_available_bytes: Count | None = None
    memory_stalled: NonNegative | None = None
    other_cpus: dict[str, float] = {}


class PageCache(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of the weight files lay in memory before they were loaded, from 0 to 1; null with a reason if unknown.

    asked: `drop` asks the system to put them out of memory first, which it may decline; `as-is` does nothing.
    """

    asked: Literal["drop", "as-is"]
    resident: Annotated[float, Meta(ge=0, le=1)] | None
    reason: str | None = None


class Replay(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The same work over and over, in a window long enough to measure: a steady state, not a part of any request.

    prefill: the prompt into an empty cache; decode: one step with `context_tokens` in the cache, taken back each time.
    energy: of one replay, the window's by `times`. reason: why there is none.
    """

    name: Literal["prefill", "decode"]
    context_tokens: Count | None = None
    times: Count = 0
    start_s: float | None = None
    end_s: float | None = None
    energy: tuple[Energy, ...] = ()
    reason: str | None = None


class Error(Struct, frozen=True, kw_only=True):
    phase: str | None
    message: str


class Stopping(Struct, frozen=True, kw_only=True):
    """What `--repeats auto` knew of the cell once this run was done, and why it stopped or went on.

    precision: the relative half-width that is wanted; half_width: the one there is, relative to `mean` (J per output
    token of `component`), by `rule`; null where there is no interval yet. basis: as of a mean on a page.
    Of two cells in turns also the `difference` B − A in J per output token, over as many repeats of each as both have:
    half_width is then that of the difference, relative to the `mean` of A, and level the part of alpha that this look
    had.
    """

    stop: bool
    reason: str
    rule: str
    precision: NonNegative
    component: str | None
    half_width: NonNegative | None
    mean: float | None
    basis: str | None
    runs: Count
    loads: Count
    difference: float | UnsetType = UNSET
    level: float | UnsetType = UNSET


class _Base(Struct, kw_only=True, tag_field="kind"):
    id: Name
    schema: Literal["llmjoules/1"]  # required on reading; the constructors below fill it in
    started_at: str | None = None
    model: Model
    system: System
    workload: Workload = Workload()
    meters: tuple[MeterInfo, ...] = ()
    totals: dict[str, Total] = {}
    flags: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        from llmjoules.records.notebook import record_html

        return record_html(self)  # type: ignore[arg-type]


class _Executed(_Base, kw_only=True):
    study: str | None = None
    cell: str
    class_: str = msgspec.field(name="class")
    repeat: Count
    load: Load
    clock: Clock
    software: dict[str, str | None] = {}
    phases: tuple[Phase, ...]
    trace: msgspec.Raw | UnsetType = UNSET
    states: dict[str, tuple[DeviceState, ...]] = {}
    command: str | None = None
    stopping: Stopping | UnsetType = UNSET
    warm_up: WarmUp | UnsetType = UNSET
    conditions: Conditions | UnsetType = UNSET
    page_cache: PageCache | UnsetType = UNSET
    replays: tuple[Replay, ...] | UnsetType = UNSET

    def phase(self, name: str) -> Phase | None:
        return next((phase for phase in self.phases if phase.name == name), None)

    def decoded_trace(self) -> Trace | None:
        """The trace, decoded on demand: lists of records never pay for it."""
        return None if self.trace is UNSET else msgspec.json.decode(self.trace, type=Trace)


class Run(_Executed, tag="run", kw_only=True):
    """One inference, with the phases that led to it when it was the first of its process."""

    tokens: Tokens


class Failed(_Executed, tag="failed", kw_only=True):
    """A repeat that did not finish, with whatever was measured up to then."""

    error: Error
    tokens: Tokens | None = None


class Correction(Struct, frozen=True, kw_only=True):
    """A unit that the source names wrongly. by: who said so; stated, taken: the units."""

    column: Name
    stated: str
    taken: str
    by: Name


class Origin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an imported record was read.

    file: its name without folders; line: where the record begins in it, counted from 1; sha256: of the whole file.
    units: those of the source by column, each converted once. corrections: where the person who imported it said that
    a heading names another unit than its column holds.
    """

    tool: Name
    file: Name
    sha256: str
    line: Annotated[int, Meta(ge=1)] | None = None
    units: dict[str, str] = {}
    corrections: tuple[Correction, ...] = ()
    licence: str | None = None
    citation: str | None = None


class Figures(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Means that a source states where it gives no counts to work them out from.

    component: of which the energy and power are, gross: never negative. output_tokens: mean number per request.
    net_j: energy less that of the idle machine, by component, as the source worked it out; it may be negative.
    itl_s: time between tokens, by percentile (`p50`). concurrency: requests in progress at a time.
    """

    component: Component
    j_per_token: NonNegative | None = None
    j_per_request: NonNegative | None = None
    power_w: NonNegative | None = None
    tokens_per_s: NonNegative | None = None
    requests_per_s: NonNegative | None = None
    output_tokens: NonNegative | None = None
    concurrency: NonNegative | None = None
    tpot_s: NonNegative | None = None
    itl_s: dict[str, NonNegative] = {}
    net_j: dict[str, float] = {}


class Published(_Base, tag="published", kw_only=True):
    """Figures taken from a paper or another tool. source: where a reader finds them.

    Repeats share a `cell`; `load` and `repeat` as in a run, as far as the source tells. Times count from `started_at`.
    `totals` are over the inference or, where the source does not divide its job, over that.
    """

    source: Name
    study: str | None = None
    cell: str | None = None
    class_: str | None = msgspec.field(name="class", default=None)
    load: Load | None = None
    repeat: Count | None = None
    origin: Origin | None = None
    tokens: Tokens | None = None
    figures: Figures | None = None
    phases: tuple[Phase, ...] = ()


Record: TypeAlias = Run | Failed | Published

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """One line of JSON, without the newline."""
    return _encoder.encode(record)


def decode(line: bytes) -> Record:
    """A record of the current schema version. Raises msgspec.DecodeError (or its ValidationError)."""
    record: Record = _decoder.decode(line)
    return record


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a record."""
    body = msgspec.json.schema(Record, schema_hook=_schema_of)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        "title": "llmjoules record",
        **body,
    }


def _schema_of(kind: type) -> dict[str, Any]:
    if kind is msgspec.Raw:  # the trace: typed by its own struct, kept undecoded on reading
        schema = msgspec.json.schema(Trace)
        return _inline(schema["$ref"], schema["$defs"])
    raise NotImplementedError(kind)


def _inline(ref: str, definitions: dict[str, Any]) -> dict[str, Any]:
    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rsplit("/", 1)[1]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    return resolve({"$ref": ref})  # type: ignore[no-any-return]
