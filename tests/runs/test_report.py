from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from PIL import Image

from striate.errors import InputError
from striate.runs.report import Report, Section, render, standard_sections

VOID = {"meta", "img"}


@dataclass(frozen=True)
class Row:
    name: str
    precision: float
    recall: float
    f1: float
    support: int


def png(width: int = 3, height: int = 2) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, format="PNG")
    return buffer.getvalue()


REPORT = Report(
    title="digits · lenet5",
    subtitle="one run",
    facts={"test accuracy": "98.7 %", "parameters": "61,706"},
    sections=standard_sections({"filters": png(), "curves": png(5, 4), "confusion": png()}),
    per_class=[Row("zero", 1.0, 0.5, 2 / 3, 1234), Row("one", math.nan, 0.0, 0.0, 0)],
    recipe="data: digits\nmodel: lenet5\n",
    commands={"Predict": "striate predict runs/1 image.png"},
    versions={"torch": "2.13.0"},
)


class Page(HTMLParser):
    """Tags with attributes, and the text in each kind of tag; checks that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def decoded(image: Mapping[str, str]) -> Image.Image:
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def test_nothing_is_loaded_from_outside() -> None:
    page = Page(render(REPORT))
    links = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href")]
    assert all(link.startswith(("data:image/png", "#")) for link in links)
    assert not page.all("link")
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    assert "url(" not in render(REPORT)
    assert "@import" not in render(REPORT)


def test_pictures_are_inlined_with_size_and_words() -> None:
    pictures = [image for image in Page(render(REPORT)).all("img") if "src" in image]
    assert len(pictures) == 3
    for image in pictures:
        opened = decoded(image)
        opened.load()
        assert opened.size == (int(image["width"]), int(image["height"]))
        assert image["alt"]
    assert decoded(pictures[0]).size == (5, 4)


def test_headings_come_in_order_and_the_contents_lead_to_them() -> None:
    page = Page(render(REPORT))
    headings = [
        "Training",
        "Which classes are confused",
        "What the first layer looks for",
        "Class by class",
        "Recipe",
        "Use it again",
    ]
    assert page.text["h2"] == headings
    assert page.text["a"] == headings
    assert [link["href"][1:] for link in page.all("a")] == [s["id"] for s in page.all("section")]
    assert page.text["h1"] == ["digits · lenet5"]
    assert page.text["dd"][:2] == ["98.7 %", "61,706"]
    assert page.text["h3"] == ["Predict"]
    assert "data: digits\nmodel: lenet5\n" in page.text["code"]


def test_ids_are_unique_and_labels_exist() -> None:
    page = Page(render(REPORT))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= set(ids)


def test_scores_are_percent_and_undefined_ones_a_dash() -> None:
    cells = Page(render(REPORT)).text["td"]
    assert cells == ["100.0 %", "50.0 %", "66.7 %", "1,234", "–", "0.0 %", "0.0 %", "0"]


@pytest.mark.parametrize(
    "change",
    [
        lambda evil: {"title": evil},
        lambda evil: {"subtitle": evil},
        lambda evil: {"facts": {evil: evil}},
        lambda evil: {"sections": [Section(evil, evil, {evil: png()})]},
        lambda evil: {"per_class": [Row(evil, 1, 1, 1, 1)]},
        lambda evil: {"recipe": evil},
        lambda evil: {"commands": {evil: evil}},
        lambda evil: {"versions": {evil: evil}},
    ],
)
def test_everything_is_escaped(change: Any) -> None:
    evil = """</style></script><script>alert("1")</script>" onload='x' & <b>"""
    html = render(replace(Report("safe"), **change(evil)))
    page = Page(html)
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert not any("onload" in attrs for _, attrs in page.tags)
    assert any(evil.strip() in text for texts in page.text.values() for text in texts)  # and nothing is lost


def test_what_is_empty_is_left_out() -> None:
    page = Page(render(Report("bare")))
    assert not page.all("section")
    assert not page.all("nav")
    assert not page.all("dl")
    assert not page.all("table")


def test_names_that_are_not_unicode_can_be_written() -> None:
    assert "caf?" in render(Report("caf\udce9")).encode().decode()


def test_the_page_of_a_hundred_classes_with_long_names() -> None:
    rows = [Row(f"class {i} " + "x" * 200, i / 100, i / 100, i / 100, i) for i in range(100)]
    page = Page(render(replace(REPORT, per_class=rows)))
    assert len(page.all("tr")) == 101


def test_sections_know_their_order_and_names() -> None:
    names = ["examples", "feature_maps", "filters", "mistakes", "reliability", "confusion", "curves"]
    sections = standard_sections({name: png() for name in names})
    titles = [section.title for section in sections]
    assert titles[0] == "Training"
    assert titles == [standard_sections({name: b""})[0].title for name in reversed(names)]
    assert all(section.reading.endswith(".") for section in sections)


def test_unknown_picture_is_an_error() -> None:
    with pytest.raises(InputError, match=r"no section for a picture: got 'curve'\. Did you mean curves\?"):
        standard_sections({"curve": png()})


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_png_is_an_error(data: bytes) -> None:
    with pytest.raises(InputError, match="cannot put a picture into the report: 'a cat': expected a PNG"):
        render(Report("x", sections=[Section("s", "r", {"a cat": data})]))
