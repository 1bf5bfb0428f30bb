"""Reading built pages as a browser would: tags, attributes, text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}


class Html(HTMLParser):
    """tags: (name, attributes) in order. text: what is shown; scripts: the content of each script element."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.path = path
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.title = ""
        self.heading = ""
        self._words: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self._open, f"{path}: never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"{self.path}: </{tag}> closes nothing"
        assert self._open[-1] == tag, f"{self.path}: </{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        where = self._open[-1] if self._open else ""
        if where == "script":
            self.scripts[-1] += data
            return
        if where == "title":
            self.title += data
            return
        if "h1" in self._open:
            self.heading += data
        if self._words and self.tags and self.tags[-1][0] == "wbr":
            self._words[-1] += data
        else:
            self._words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def pages(site: Path) -> list[Html]:
    return [Html(path) for path in sorted(site.rglob("*.html"))]


def page_of(site: Path, folder: str, words: str) -> Html:
    """The one page of a folder whose heading has these words."""
    found = [page for page in pages(site / folder) if words in page.heading and page.path.name != "index.html"]
    assert len(found) == 1, [page.heading for page in pages(site / folder)]
    return found[0]
