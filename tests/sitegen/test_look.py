"""A user's title, notes, limits and templates: on the page, in the fingerprint, and answered where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmjoules.records.errors import LlmjoulesError
from llmjoules.sitegen.build import build_site
from tests.sitegen.html import Html
from tests.sitegen.inputs import runs, write
from tests.sitegen.test_incremental import places, tree


class Owner:
    """Results with a `site.toml` and a folder of templates beside them."""

    def __init__(self, folder: Path, plotly: Path) -> None:
        self.results, self.site, self.look = folder / "results", folder / "site", folder / "look"
        self.toml, self.plotly = folder / "site.toml", plotly
        write(self.results / "r.jsonl", runs())
        self.look.mkdir()
        self.toml.write_text("templates = 'look'\n")

    def template(self, name: str, body: str) -> None:
        (self.look / name).write_text(body)

    def build(self, **options: object) -> Html:
        build_site([self.results], self.site, plotly_js=self.plotly, **options)  # type: ignore[arg-type]
        return Html(self.site / "index.html")


@pytest.fixture
def owner(tmp_path: Path, plotly_stub: Path) -> Owner:
    return Owner(tmp_path, plotly_stub)


def test_title_notes_and_limits_stand_on_the_home_page(owner: Owner) -> None:
    owner.toml.write_text("title = 'Cellar'\nnotes = ['Cold & <b>dark</b>.']\n[limits]\ntokens_per_s = 2.5\n")
    home = owner.build()
    assert "– Cellar" in home.title
    assert "Cold & <b>dark</b>." in home.text, "as text, not as tags"
    fields = {attributes["name"]: attributes for tag, attributes in home.tags if "name" in attributes}
    assert fields["least"]["data-standard"] == "2.5"
    assert fields["most"]["data-standard"] == ""
    assert "– Attic" in owner.build(title="Attic").title, "an option goes before the file"
    assert "Cold" not in owner.build(config=write_toml(owner, "other.toml", "")).text, "a named file goes before ours"


def write_toml(owner: Owner, name: str, text: str) -> Path:
    file = owner.toml.with_name(name)
    file.write_text(text)
    return file


def test_one_block_is_changed_and_the_rest_of_the_page_stays(owner: Owner) -> None:
    before = owner.build()
    owner.template("base.html", '{% extends "llmjoules/base.html" %}{% block footer %}Ask us.{% endblock %}')
    owner.template("extra.css", ":root { --link: #123456; }")
    home = owner.build()
    assert "Ask us." in home.text
    assert home.heading == before.heading
    assert home.text.split("Ask us.")[0] == before.text.split("Made by llmjoules")[0]
    for page in owner.site.rglob("*.html"):
        assert "Ask us." in page.read_text(), page
        style = next(value for value in Html(page).attributes("href") if "extra." in value)
        assert (page.parent / style).read_text() == ":root { --link: #123456; }"


def test_a_whole_page_is_replaced_and_may_name_templates_of_its_own(owner: Owner) -> None:
    owner.template("methods.html", "<!DOCTYPE html><title>x</title>{% include 'how.html' %}")
    owner.template("how.html", "By {{ site_title }}.")
    owner.build(title="<us>")
    assert (owner.site / "methods.html").read_text() == "<!DOCTYPE html><title>x</title>By &lt;us&gt;."


def test_what_does_not_change_is_not_written_again_and_what_changes_is(owner: Owner) -> None:
    owner.template("run.html", '{% extends "llmjoules/run.html" %}{% block footer %}one{% endblock %}')
    owner.build()
    before = places(owner.site)
    owner.build()
    assert places(owner.site) == before
    owner.template("run.html", '{% extends "llmjoules/run.html" %}{% block footer %}two{% endblock %}')
    owner.build()
    runs_of = list((owner.site / "runs").glob("*-*.html"))
    assert len(runs_of) == 3
    assert all("two" in path.read_text() for path in runs_of)
    owner.toml.write_text("templates = 'look'\nnotes = ['New.']\n")
    before = places(owner.site)
    owner.build()
    assert {name for name, place in places(owner.site).items() if before[name] != place} == {"index.html"}
    again = tree(owner.site)
    owner.look.rename(owner.look.with_name("moved"))
    owner.toml.write_text("templates = 'moved'\nnotes = ['New.']\n")
    owner.build()
    assert tree(owner.site) == again, "where the templates lie is on no page"


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("home.html", "{% extends 'llmjoules/home.html' %}\n{% block lead %}\n{{ nobody }}{% endblock %}",
         ["home.html, line 3", "'nobody' is undefined"]),
        ("run.html", "{% extends 'llmjoules/run.html' %}{% block main %}{{ 1 / 0 }}{% endblock %}",
         ["run.html, line 1", "division by zero"]),
        ("home.html", "\n{% if %}", ["home.html, line 2", "Expected an expression"]),
        ("home.html", "{% extends 'llmjoules/hone.html' %}", ["home.html, line 1", "known name is llmjoules/home"]),
        ("hom.html", "x", ["hom.html", "No page uses", "nearest known name is home.html"]),
        ("home.html", "\udcff", ["home.html is not UTF-8"]),
    ],
)  # fmt: skip
def test_a_template_that_does_not_work_is_named_and_the_old_site_stays(
    standing: tuple[Owner, dict[str, bytes]], name: str, body: str, words: list[str]
) -> None:
    owner, before = standing
    (owner.look / name).write_bytes(body.encode("utf-8", "surrogateescape"))
    with pytest.raises(LlmjoulesError) as caught:
        owner.build()
    (owner.look / name).unlink()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.fix
    assert tree(owner.site) == before


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, plotly_stub: Path) -> tuple[Owner, dict[str, bytes]]:
    owner = Owner(tmp_path_factory.mktemp("standing"), plotly_stub)
    owner.build()
    return owner, tree(owner.site)


def test_a_mistake_in_the_file_leaves_the_old_site_whole(owner: Owner) -> None:
    owner.build()
    before = tree(owner.site)
    owner.toml.write_text("[limits]\npower = 3\n")
    with pytest.raises(LlmjoulesError, match=r"unknown key limits\.power"):
        owner.build()
    assert tree(owner.site) == before
    with pytest.raises(LlmjoulesError, match=r"no-such\.toml"):
        owner.build(config=owner.toml.with_name("no-such.toml"))
    with pytest.raises(LlmjoulesError, match="no such folder"):
        owner.build(config=write_toml(owner, "empty.toml", ""), templates=owner.look / "nowhere")
