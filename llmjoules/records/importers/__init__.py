"""Importers: other tools' measurement files as published records, with their scope and method. One module a format."""

from llmjoules.records.importers.hookspecs import hookimpl
from llmjoules.records.importers.types import Bad, Importer, Note, Options, Unmapped

__all__ = ["Bad", "Importer", "Note", "Options", "Unmapped", "hookimpl"]
