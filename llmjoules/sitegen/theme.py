"""A user's own templates: a folder whose files come before ours, and what is wrong with one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from msgspec import Struct

from llmjoules.records.errors import LlmjoulesError, nearest

OURS = "llmjoules"  # {% extends "llmjoules/home.html" %}: ours, where a template of the same name stands before it
STYLE = "extra.css"
FIX = 'See "A look of your own" in docs/site.md.'


class Theme(Struct, frozen=True):
    """folder: where the templates are; sha256: of their names and contents. Without a folder there are ours alone."""

    folder: str | None = None
    sha256: str = ""


def read_theme(folder: Path | None) -> Theme:
    """Reads the files in the folder, hidden ones excepted, and checks its templates. Raises LlmjoulesError that names
    what is wrong."""
    if folder is None:
        return Theme()
    if not folder.is_dir():
        raise LlmjoulesError(f"No templates in {folder}.", "There is no such folder.", "Name a folder: --templates DIR")
    digest = hashlib.sha256()
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if any(part.startswith(".") for part in path.relative_to(folder).parts):  # an editor's
                continue
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    except OSError as error:
        why = f"{error.strerror or error}."
        raise LlmjoulesError(f"Cannot read the templates in {folder}.", why, "Make them readable.") from error
    theme = Theme(str(folder.absolute()), digest.hexdigest())
    _check(theme)
    return theme


def style_of(theme: Theme) -> bytes | None:
    """The folder's own style sheet, which pages load after ours."""
    path = Path(theme.folder, STYLE) if theme.folder is not None else None
    return path.read_bytes() if path is not None and path.is_file() else None


@lru_cache(maxsize=4)
def loader(theme: Theme) -> jinja2.BaseLoader:
    """The user's templates, then ours; ours also under `llmjoules/`, so that one can be changed in part."""
    ours = jinja2.PackageLoader("llmjoules", "templates")
    if theme.folder is None:
        return ours
    return jinja2.ChoiceLoader(
        [jinja2.FileSystemLoader(theme.folder), ours, jinja2.PrefixLoader({OURS: ours})],
    )


@contextmanager
def blaming(theme: Theme, template: str) -> Iterator[None]:
    """Whatever a user's template raises becomes an LlmjoulesError with its file and line; a fault of ours stays one."""
    try:
        yield
    except LlmjoulesError:
        raise
    except Exception as error:
        if theme.folder is None:
            raise
        where = _place(error, theme.folder) or f"{theme.folder}, while {template} was filled in"
        why = f"{type(error).__name__}: {_said(error)}"
        raise LlmjoulesError(f"A template does not work: {where}.", why, FIX) from error


def _said(error: Exception) -> str:
    if isinstance(error, jinja2.TemplateNotFound):
        known = [*_names(), *(f"{OURS}/{name}" for name in _names())]
        return f"there is no template {error.name}. {nearest(str(error.name), known)}"
    words = " ".join(str(error).split())
    return words if words.endswith(".") else f"{words}."


def _place(error: Exception, folder: str) -> str | None:
    """`FILE, line N` of the innermost line of the user's; None where none of his took part."""
    if isinstance(error, jinja2.TemplateSyntaxError) and error.filename is not None:
        return f"{error.filename}, line {error.lineno}"
    found, step = None, error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if Path(name).is_relative_to(folder):
            found = f"{name}, line {step.tb_lineno}"
        step = step.tb_next
    return found


def _check(theme: Theme) -> None:
    """Each template must be readable, and be either in the place of one of ours or named by another."""
    assert theme.folder is not None
    env = jinja2.Environment(loader=loader(theme))
    named: set[Any] = set()
    own = sorted(path.relative_to(theme.folder).as_posix() for path in Path(theme.folder).rglob("*.html"))
    for name in own:
        with blaming(theme, name):
            try:
                source = Path(theme.folder, name).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                why = f"{error}."
                raise LlmjoulesError(f"{Path(theme.folder, name)} is not UTF-8.", why, "Save it as UTF-8.") from error
            tree = env.parse(source, name, str(Path(theme.folder, name)))
            named |= set(jinja2.meta.find_referenced_templates(tree))
    for name in own:
        if name not in _names() and name not in named and None not in named:
            fix = nearest(name, _names())
            raise LlmjoulesError(f"No page uses the template {Path(theme.folder, name)}.", "Nothing names it.", fix)


def _names() -> list[str]:
    return sorted(file.name for file in (files("llmjoules") / "templates").iterdir() if file.name.endswith(".html"))
