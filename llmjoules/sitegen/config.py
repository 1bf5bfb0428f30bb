"""`site.toml`: what the owner of a site says of it, and how it looks. docs/site.md lists its keys."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llmjoules.records.errors import LlmjoulesError, nearest

NAME = "site.toml"
MOST = 1e15  # of a limit: TOML knows infinity, a field of a page does not


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What the home page asks of a setting until its reader says otherwise."""

    tokens_per_s: Annotated[float, Meta(ge=0, le=MOST)] | None = None
    power_w: Annotated[float, Meta(ge=0, le=MOST)] | None = None


class SiteConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """notes: paragraphs of plain text under the home page's title. templates: a folder whose files come before ours."""

    title: str | None = None
    base_url: str | None = None
    notes: tuple[str, ...] = ()
    templates: Path | None = None
    limits: Limits = Limits()


def read_config(given: Path | None, results: list[Path]) -> SiteConfig:
    """The given file, or the `site.toml` in one of the folders of results or beside it; without any, nothing is said.

    `templates` is relative to the file. Raises LlmjoulesError with the file, the key and what it may be.
    """
    file = given if given is not None else _found(results)
    if file is None:
        return SiteConfig()
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlmjoulesError(f"Cannot read {file}.", f"{error.strerror or error}.", "Name a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LlmjoulesError(f"{file} is not TOML.", f"{error}.", "See docs/site.md for an example.") from error
    _check_keys(file, said, SiteConfig, "")
    _check_keys(file, said.get("limits"), Limits, "limits.")
    try:
        config = msgspec.convert(said, SiteConfig, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise LlmjoulesError(
            f"{file} has a wrong value.", f"{error}.", "See docs/site.md for what it may be."
        ) from error
    if config.templates is None:
        return config
    folder = file.parent / config.templates
    if not folder.is_dir():
        raise LlmjoulesError(f"{file}: templates is no folder.", f"There is none at {folder}.", "Correct its path.")
    return msgspec.structs.replace(config, templates=folder)


def _found(results: list[Path]) -> Path | None:
    try:
        folders = [folder for folder in results if folder.is_dir()]
        places = [place for folder in folders for place in (folder / NAME, folder.absolute().parent / NAME)]
        return next((place for place in places if place.is_file()), None)
    except OSError as error:  # a folder that may not be entered: of what lies in it even the kind is unknown
        fix = "Ask for permission on its folder."
        raise LlmjoulesError(f"Cannot read {error.filename}.", f"{error.strerror}.", fix) from error


def _check_keys(file: Path, said: object, kind: type[Struct], prefix: str) -> None:
    known = kind.__struct_fields__
    for key in said if isinstance(said, dict) else ():
        if key not in known:
            fix = nearest(prefix + key, [prefix + name for name in known])
            raise LlmjoulesError(f"{file} has an unknown key {prefix}{key}.", "Nothing reads it.", fix)


def _path(kind: type, value: object) -> Path:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)
