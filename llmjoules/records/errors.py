"""The one error type that is meant for a user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence for a misspelt word: the nearest known one, or the first twenty of all."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"The nearest known name is {close[0]}." if close else f"Known: {', '.join(names[:20]) or 'none'}."


def install(extra: str) -> str:
    """The command for an extra of ours, whether this is a clone or came from a registry."""
    return f"pip install '.[{extra}]' in a clone of llmjoules, or 'llmjoules[{extra}]' where a registry has it"


def without_home(text: str) -> str:
    """The text with the user's home folder as `~`: messages of other programs end up in published records."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


class LlmjoulesError(Exception):
    """What happened, why, and what to do about it; printed as at most three lines, without a traceback.

    Anything else that escapes is a defect of ours and keeps its traceback.
    """

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __reduce__(self) -> tuple[type[LlmjoulesError], tuple[str, str, str]]:
        return type(self), (self.what, self.why, self.fix)

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"Why: {self.why}")
        if self.fix:
            lines.append(f"Do:  {self.fix}")
        return "\n".join(lines)
