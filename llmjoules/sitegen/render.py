"""Templates, and what every page is given."""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

import jinja2
import msgspec
from markupsafe import Markup
from msgspec import Struct

from llmjoules.sitegen import text
from llmjoules.sitegen.theme import Theme, blaming, loader

# The hash is that of an empty style element, which Plotly adds and fills through the style sheet interface.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'"
)
NAV = (
    ("index.html", "Overview"),
    ("models/index.html", "Models"),
    ("systems/index.html", "Systems"),
    ("scaling.html", "Scaling"),
    ("compare.html", "Compare"),
    ("runs/index.html", "Runs"),
    ("downloads.html", "Downloads"),
    ("methods.html", "Methods"),
    ("health.html", "Data health"),
)


class Look(Struct, frozen=True):
    """What all pages share. assets: paths inside the site by name; plotly_styles: ids of style elements that must not
    be added, see charts.js."""

    title: str
    base_url: str | None
    assets: dict[str, str]
    plotly_styles: str
    nav: tuple[tuple[str, str], ...] = NAV
    theme: Theme = Theme()


class Renderer:
    def __init__(self, look: Look) -> None:
        self.look = look
        self._env = environment(look.theme)

    def render(self, template: str, path: str, **context: Any) -> str:
        root = "../" * path.count("/")
        if path == "404.html":
            root = f"{urlsplit(self.look.base_url or '').path}/"
        with blaming(self.look.theme, template):
            return self._env.get_template(template).render(
                **context,
                root=root,
                path=path,
                site_title=self.look.title,
                nav=self.look.nav,
                csp=CSP,
                assets=self.look.assets,
                plotly_styles=self.look.plotly_styles,
                canonical=self.url(path) if self.look.base_url is not None else None,
                version=_version(),
            )

    def url(self, path: str) -> str:
        return f"{self.look.base_url}/{path}".removesuffix("index.html")


@lru_cache(maxsize=4)
def environment(theme: Theme = Theme()) -> jinja2.Environment:  # noqa: B008 -- it is frozen
    """Everything is escaped, an unknown name is an error, and characters that hide others become visible."""
    env = jinja2.Environment(
        loader=loader(theme),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: text.clean(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["data"] = _data
    env.filters["count"] = text.count
    env.filters["digits"] = text.digits
    env.filters["breakable"] = _breakable
    env.filters["verbatim"] = _verbatim
    return env


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line after a `-`, `:`, `/` or `_`, rather than anywhere."""
    pieces = re.split(r"(?<=[-:/_])(?=[^-:/_])", text.clean(name))
    return Markup("<wbr>").join(pieces)


def _verbatim(value: str) -> Markup:
    """Text between tags, where quotes need no escape: a record has a thousand of them."""
    return Markup(text.clean(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _data(value: Any) -> Markup:
    """JSON for a data block: no character that could end the block or begin a tag, and no NaN."""
    dumped = json.dumps(msgspec.to_builtins(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@cache
def _version() -> str:
    try:
        return version("llmjoules")
    except PackageNotFoundError:
        return "from source"
