"""Macs through powermetrics, which needs root: CPU, GPU and neural engine, and one process's share of the CPU.

The share is the paper's: the CPU's energy of each record times α, what the process tree has of all tasks' "energy
impact" in that record. The machine's figure always stands beside it.
"""

from __future__ import annotations

import getpass
import os
import platform
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from math import inf
from subprocess import DEVNULL, PIPE
from typing import Annotated, Any, Literal

import msgspec
import psutil

from llmjoules.meters.hookspecs import hookimpl
from llmjoules.meters.powermetrics_records import PlistStream, Record, TextStream, impact_factor, process_tree
from llmjoules.meters.types import IntervalRecord, Meter, Unavailable
from llmjoules.records.devices import APPLES_MODEL
from llmjoules.records.record import Channel

PROGRAM = "/usr/bin/powermetrics"
# Not every system and chip knows ane_power, and an unknown name is an error; cpu_power has the neural engine's too.
SAMPLERS = ("cpu_power,gpu_power,ane_power", "cpu_power,gpu_power")
# Text is for systems whose powermetrics knows no other form.
FORMS = ("plist", "text")
# In the order of a record; on Intel the package stands for the CPU, as it does with RAPL.
CHANNELS = {"package": "cpu:0", "cpu": "cpu:0", "gpu": "gpu:0", "ane": "ane:0", "dram": "dram:0"}
SHARE = "cpu:0@process"
MEASURES = {"energy_impact": "energy_impact", "cputime": "cputime_s"}
TRIAL_MS = 100
TRIAL_LIMIT_S = 6.0  # it may take two seconds to start
TEXT_PAUSE_S = 0.2  # a sample in text form is over when nothing more has come for so long
LOOK_EVERY_S = 0.05  # how long a reader waits before it looks whether to stop
# The arrival of a record is late by what it takes to write, send and take it; a quarter of that is taken for a true
# change, so that records follow on each other as the device counted them and clocks that drift still meet.
LATENESS_KEPT = 0.25


class PowermetricsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """alpha: how the share of a process is reckoned. pid: whose share, this process's unless given."""

    alpha: Literal["energy_impact", "cputime", "none"] = "energy_impact"
    interval_ms: Annotated[int, msgspec.Meta(ge=50, le=5000)] = 500
    pid: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Powermetrics(Meter):
    name = "powermetrics"
    summary = "Macs through powermetrics: CPU, GPU and neural engine, and a process's share of the CPU"
    auto = False  # asking sudo for what it may refuse is for those who name it; `apple` needs no root
    Options = PowermetricsOptions

    def __init__(self, options: PowermetricsOptions | None = None) -> None:
        super().__init__(options)
        self._samplers = SAMPLERS[0]
        self._form = FORMS[0]
        self._run: _Run | None = None
        self._closed = False
        self._own: set[int] = set()  # sudo and powermetrics: what measuring costs is not the process's
        self._alphas = 0
        self._alpha_sum = 0.0

    def probe(self) -> list[Channel]:
        """Takes one short record: only that tells whether it may run, in what form, and what this machine has."""
        problems = []
        for form in FORMS:
            for samplers in SAMPLERS:
                record, problem = self._trial(samplers, form)
                if record is not None:
                    self._samplers, self._form = samplers, form
                    return _channels(record, self.options, form)
                if "sampler" not in problem.lower():
                    break
            problems.append(problem)
            if not any(word in problem.lower() for word in ("option", "format", "plist", "usage")):
                break
        raise _unavailable(problems[0])

    def open(self) -> None:
        self._closed = False
        self._run = _Run(self._command(self._samplers, self._form), self.options.interval_ms, self._form)

    def stream(self) -> Iterator[IntervalRecord]:
        run, placed = self._run, _Placed()
        if run is None:
            return
        try:
            for arrival_s, records in run.records():
                for start_s, end_s, record in placed.of(arrival_s, records):
                    yield IntervalRecord(start_s, end_s, self._joules(record, run))
            if not self._closed:
                raise ChildProcessError(run.reason())
        finally:
            run.stop()

    def close(self) -> None:
        self._closed = True
        if self._run is not None:
            self._run.stop()

    def describe(self) -> dict[str, Any]:
        described = super().describe() | {"form": self._form}
        if self._alphas:
            described["alpha_mean"] = self._alpha_sum / self._alphas
        if self._run is not None:
            described["dropped_records"] = self._run.dropped
        return described

    def _trial(self, samplers: str, form: str) -> tuple[Record | None, str]:
        try:
            run = _Run([*self._command(samplers, form, TRIAL_MS), "-n", "1"], TRIAL_MS, form)
        except OSError as error:
            return None, f"{error.filename}: {error.strerror}"
        try:
            for _, records in run.records(TRIAL_LIMIT_S):
                if records:
                    return records[0], ""
            return None, run.reason()
        finally:
            run.stop()

    def _command(self, samplers: str, form: str, interval_ms: int | None = None) -> list[str]:
        asked = ["-f", form] if form == "plist" else []
        interval = [*asked, "-b", "0", "-i", str(interval_ms or self.options.interval_ms)]
        tasks = [] if self.options.alpha == "none" else ["--show-process-energy"]
        return [*_sudo(), _program(), "--samplers", samplers + (",tasks" if tasks else ""), *tasks, *interval]

    def _joules(self, record: Record, run: _Run) -> dict[str, float]:
        joules = _by_channel(record)
        if self.options.alpha != "none" and "cpu:0" in joules:
            alpha = impact_factor(record, self._ours(record, run), MEASURES[self.options.alpha])
            if alpha is not None:
                joules[SHARE] = alpha * joules["cpu:0"]
                self._alphas += 1
                self._alpha_sum += alpha
        return joules

    def _ours(self, record: Record, run: _Run) -> set[int]:
        """Helpers may have started or been given to another parent in this interval, so both tables are asked."""
        root = self.options.pid or os.getpid()
        self._own = self._own or {run.pid, *_descendants(run.pid)}
        return process_tree(record, {root, *_descendants(root)}) - self._own


def _channels(record: Record, options: PowermetricsOptions, form: str) -> list[Channel]:
    joules = _by_channel(record)
    if not joules:
        raise Unavailable(
            "powermetrics shows no energy here.",
            "Its record has neither energy nor power of CPU or GPU: probably a virtual machine.",
            "Measure on the Mac itself.",
        )
    shared = options.alpha != "none" and "cpu:0" in joules
    shared = shared and impact_factor(record, (), MEASURES[options.alpha]) is not None
    intel = "package" in record.joules
    return [
        Channel(
            id=channel,
            component=channel.split(":")[0],  # type: ignore[arg-type]
            kind="interval",
            source="measured" if intel and channel != SHARE else "modelled",
            extent="process-share" if channel == SHARE else "device",
            period_s=options.interval_ms / 1e3,
            resolution=max(0.001, (0.01 if intel else 0.001) * options.interval_ms / 1e3) if form == "text" else 0.001,
            note=APPLES_MODEL if not intel else "Intel's model of the package: CPUs, graphics and system agent",
        )
        for channel in [*joules, *([SHARE] if shared else [])]
    ]


def _by_channel(record: Record) -> dict[str, float]:
    joules: dict[str, float] = {}
    for name, channel in CHANNELS.items():
        if name in record.joules:
            joules.setdefault(channel, record.joules[name])
    return joules


def _program() -> str:
    named = os.environ.get("LLMJOULES_POWERMETRICS")
    if named is None and platform.system() != "Darwin":
        raise Unavailable(
            "No powermetrics.", f"It is a program of macOS; this is {platform.system()}.", "Measure on a Mac."
        )
    return named or PROGRAM


def _sudo() -> list[str]:
    """Never one that may ask: -n makes it fail instead."""
    named = os.environ.get("LLMJOULES_SUDO")
    if named is None:
        named = "" if os.geteuid() == 0 else "sudo"
    return [named, "-n"] if named else []


def _unavailable(problem: str) -> Unavailable:
    if any(word in problem.lower() for word in ("password", "superuser", "sorry", "sudoers")):
        return Unavailable(
            "powermetrics needs root, and sudo does not give it without a password.",
            f"{problem}. llmjoules never asks for a password.",
            "Run `sudo visudo -f /etc/sudoers.d/powermetrics` and write: "
            f"{getpass.getuser()} ALL = (root) NOPASSWD: {_program()}",
        )
    return Unavailable(
        "powermetrics gives no record.", f"{problem}.", f"See what it says: {' '.join([*_sudo(), _program()])} -n 1"
    )


def _descendants(pid: int) -> set[int]:
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.Error:
        return set()


class _Placed:
    """Where records lie on our clock: they follow on each other, save where one is missing."""

    def __init__(self) -> None:
        self._end_s = -inf

    def of(self, arrival_s: float, records: Iterable[Record]) -> Iterator[tuple[float, float, Record]]:
        """Of several that came at once, all but the last have been waiting."""
        records = list(records)
        waiting_s = sum(record.elapsed_s for record in records)
        for record in records:
            waiting_s -= record.elapsed_s
            yield (*self._place(arrival_s - waiting_s, record.elapsed_s), record)

    def _place(self, arrival_s: float, elapsed_s: float) -> tuple[float, float]:
        start_s, late_s = self._end_s, arrival_s - self._end_s - elapsed_s
        if late_s > elapsed_s / 2:  # the first, or a record was lost, or the machine slept
            start_s, self._end_s = arrival_s - elapsed_s, arrival_s
        else:
            self._end_s = max(arrival_s - (1 - LATENESS_KEPT) * max(late_s, 0.0), start_s + 1e-3)
        return start_s, self._end_s


class _Run:
    """One powermetrics process, perhaps behind sudo: root's, so that we may not signal it.

    It ends when we close our end of its pipe: its next record finds nobody. No other one is ever touched.
    """

    def __init__(self, command: list[str], interval_ms: int, form: str) -> None:
        self._interval_s = interval_ms / 1e3
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would stop it one day
        try:
            self._process = subprocess.Popen(
                command,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=self._stderr,
                bufsize=0,
                process_group=0,  # Ctrl-C is for us; the session stays, to which sudo's permission may be tied
            )
        except BaseException:
            self._stderr.close()
            raise
        self._sudo = command[:2] if command[1] == "-n" else []
        self._written: PlistStream | TextStream = PlistStream() if form == "plist" else TextStream()
        self._said = ""
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # held while the pipe is read or closed

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dropped(self) -> int:
        return self._written.dropped

    def records(self, limit_s: float = inf) -> Iterator[tuple[float, list[Record]]]:
        """Records with the time at which they came, until it ends, it is stopped, or it takes too long."""
        assert self._process.stdout is not None
        deadline, came_s = time.monotonic() + limit_s, time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not self._stopping.is_set():
                with self._lock:
                    if self._process.stdout.closed:
                        return
                    data = os.read(self._process.stdout.fileno(), 1 << 16) if selector.select(LOOK_EVERY_S) else None
                if not data and (records := self._written.pause() if self._is_over(data, came_s) else []):
                    yield came_s, records
                if data == b"":
                    self._said = self._written.finish()
                    return
                if data:
                    before_s, came_s = came_s, time.monotonic()
                    records = self._written.feed(data)
                    # What the next sample's beginning has ended was there before.
                    yield (before_s if isinstance(self._written, TextStream) else came_s), records
                elif time.monotonic() > deadline:
                    self._said = f"no record came within {limit_s:g} s"
                    return

    def _is_over(self, data: bytes | None, came_s: float) -> bool:
        return data == b"" or time.monotonic() - came_s > TEXT_PAUSE_S

    def reason(self) -> str:
        """Why there are no more records."""
        try:
            status = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return f"powermetrics does not answer: {self._said}" if self._said else "powermetrics closed its output"
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace")[-500:].split("\n")
        lines = [line.strip() for line in (*said, self._said) if line.strip() and "<" not in line]
        return f"powermetrics {how}" + (f": {lines[-1]}" if lines else "")

    def stop(self) -> None:
        """May be called twice, and while the records are read in another thread."""
        self._stopping.set()
        with self._lock:
            assert self._process.stdout is not None
            if self._process.stdout.closed:
                return
            self._process.stdout.close()
            try:
                self._process.terminate()  # ours where we are root
            except PermissionError:
                pass
            if not _ended(self._process, min(self._interval_s + 0.3, 1.0)) and self._sudo:
                pids = map(str, sorted(_descendants(self.pid)) or [self.pid])
                command = [*self._sudo, "kill", "-TERM", *pids]
                _ended(subprocess.Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL), 0.3)
                _ended(self._process, 0.2)
            self._stderr.close()


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Has it ended within that time? Else a thread stays to take its status, so that no zombie is left."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, name="llmjoules-reaper", daemon=True).start()
        return False
    return True


@hookimpl
def llmjoules_meters() -> Iterable[type[Meter]]:
    return [Powermetrics]
