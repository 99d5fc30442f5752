"""The page of a report: valid, self-contained, and with the numbers of the report."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate.geometry import Report, describe

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = """</style></svg></th><script>alert("1")</script>--><b onclick='x'>&amp;$x_{$ 日本"""


class Reader(HTMLParser):
    """Reads a page: its elements with their attributes and text. What is not nested well is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(page)
        self.close()
        assert not self.open, f"<{self.open[-1]['tag']}> is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice"
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1]["tag"] == tag, f"</{tag}> closes <{self.open[-1]['tag']}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [e for e in self.elements if e["tag"] == tag]


class Net(nn.Module):
    """A skip, a frozen layer, a shared one, norms, views, and modules of any name."""

    def __init__(self, name: str = "conv") -> None:
        super().__init__()
        self.add_module(name, nn.Conv2d(2, 4, 3, padding=1))
        self.name, self.norm, self.head = name, nn.BatchNorm2d(4), nn.Linear(4 * 6 * 6, 5)
        self.twice = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.norm.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(getattr(self, self.name)(x)))
        x = torch.relu(self.twice(self.twice(x))) + x
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))


@pytest.fixture(scope="module")
def report() -> Report:
    return describe(Net(), (2, 12, 12))


@pytest.fixture(scope="module")
def page(report: Report) -> Reader:
    return Reader(report.html())


def number(text: str) -> int:
    return int(text.replace(",", "") or 0)


def cells(page: str, part: str) -> list[list[str]]:
    """Texts of the rows of a part of the table."""
    rows = Reader(re.search(f"<{part}>.*</{part}>", page, re.DOTALL)[0])
    found: list[list[str]] = []
    for element in rows.elements:
        if element["tag"] == "tr":
            found.append([])
        elif element["tag"] in ("th", "td"):
            found[-1].append(element["text"])
    return found


@pytest.mark.parametrize("text", ["<b><i></b></i>", "<p>", "</p>", '<a b="1" b="2"></a>'])
def test_the_reader_tells_what_is_wrong(text: str) -> None:
    with pytest.raises(AssertionError):
        Reader(text)


def test_every_operation_has_a_row_with_its_numbers(report: Report) -> None:
    rows = cells(report.html(), "tbody")
    assert len(rows) == len(report.rows) > 8
    for row, layer in zip(rows, report.rows, strict=True):
        assert row[:3] == [layer.path or "(network)", layer.operation, "x".join(map(str, layer.shape))]
        c = layer.counts
        counts = (c.macs, c.bias, c.norm, c.activation, c.pooling, c.elementwise)
        held = (layer.trainable, layer.frozen, layer.shared)
        assert [number(cell) for cell in row[3:13]] == [*held, *counts, layer.activation_bytes]
        assert row[13] == "≤ " * (not layer.exact) + "x".join(map(str, layer.receptive_field))
        for cell, values in zip(row[14:16], (layer.stride, layer.offset), strict=True):
            assert [float(part) for part in cell.split("x") if part] == [float(value) for value in values]
        assert row[16] == "x".join(str(a) if a == b else f"{a}+{b}" for a, b in layer.padding)


def test_the_columns_add_up_to_the_totals(report: Report) -> None:
    rows, [total] = cells(report.html(), "tbody"), cells(report.html(), "tfoot")
    for column in (3, 4, *range(6, 13)):
        assert number(total[column]) == sum(number(row[column]) for row in rows)
    assert number(total[3]) + number(total[4]) == report.parameters
    assert number(total[4]) == report.frozen == 24
    assert number(total[6]) == report.macs


def test_headers_name_as_many_columns_as_rows_have(report: Report) -> None:
    groups, names = cells(report.html(), "thead")
    spans = [int(e["colspan"]) for e in Reader(report.html()).all("th") if "colspan" in e]
    assert len(spans) == len(groups)
    widths = {len(row) for part in ("tbody", "tfoot") for row in cells(report.html(), part)}
    assert {sum(spans), len(names)} == widths == {17}


def test_totals_are_those_of_the_summary(report: Report, page: Reader) -> None:
    said = dict(zip((e["text"] for e in page.all("dt")), (e["text"] for e in page.all("dd")), strict=True))
    assert said["parameters"] == f"{report.parameters:,}, 24 frozen"
    assert said["multiply-adds (MACs)"] == f"{report.macs:,}"
    assert said["of weights"] == report.summary()["weights"]
    for name in ("other operations", "activations, inference", "activations, training", "first sees the whole input"):
        assert said[name] == report.summary()[name]


def test_shares_are_drawn_as_said_and_make_a_whole(report: Report, page: Reader) -> None:
    bars = [e["style"] for e in page.all("b")]
    widths = [float(re.fullmatch(r"width:(\d+\.\d+)%", style)[1]) for style in bars]
    said = [float(re.search(r"(\d+\.\d+)%", e["text"])[1]) for e in page.all("span")]
    expected = [report.parameter_share, report.activation_share]
    shares = [100 * part for share in expected for part in (share.convolution, share.linear, share.other)]
    assert widths == said == pytest.approx(shares, abs=0.0051)
    assert sum(widths[:3]) == pytest.approx(100, abs=0.016)
    assert sum(widths[3:]) == pytest.approx(100, abs=0.016)
    # Inline boxes have no width or height: the parts of a bar were once not seen at all.
    assert re.search(r"\.bar \{ display: flex;[^}]* height: 0\.7rem;", report.html())
    assert {e["class"] for e in page.all("b")} == {"convolution", "linear", "other"}


def test_the_drawing_has_every_block(page: Reader) -> None:
    texts = [e["text"] for e in page.all("text")]
    assert len(page.all("svg")) == 1
    assert {"conv", "twice", "head", "+ batch_norm + relu"} <= set(texts)
    assert "conv2d 3x3" in texts
    assert texts.count("conv2d 1x1") == 2


def loads(page: Reader, text: str) -> list[str]:
    """What a page runs or loads from elsewhere."""
    links = ("src", "srcset", "href", "xlink:href", "data", "action", "background", "poster")
    active = ("script", "iframe", "object", "embed", "link", "base", "form")
    found = [e["tag"] for e in page.elements if e["tag"] in active]
    found += [name for e in page.elements for name in e if name.startswith("on")]
    found += [e[name] for e in page.elements for name in links if not (e.get(name) or "#").startswith("#")]
    return found + re.findall(r"@import|url\((?!\"?#)[^)]*", text)


def test_a_page_loads_and_runs_nothing(report: Report, page: Reader) -> None:
    assert loads(page, report.html()) == []
    [policy] = [e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    text = '<a href="http://a" onclick="x"></a><script></script><style>@import "a"; b { c: url(http://d) }</style>'
    assert loads(Reader(text), text) == ["script", "onclick", "http://a", "@import", "url(http://d"]


def test_no_name_can_break_a_page() -> None:
    hostile = type(HOSTILE, (Net,), {})
    page = describe(hostile(HOSTILE), (2, 12, 12)).html()
    reader = Reader(page)
    assert loads(reader, page) == []
    assert [e["tag"] for e in reader.elements].count("svg") == 1
    assert "onclick=" not in re.sub(r'title="[^"]*"|aria-label="[^"]*"|>[^<]*<', "", page)
    assert reader.all("h1")[0]["text"] == reader.all("title")[0]["text"] == HOSTILE
    assert HOSTILE in [e["text"] for e in reader.all("th")]
    assert len(cells(page, "tbody")) == len(cells(describe(Net(), (2, 12, 12)).html(), "tbody"))


def test_letters_that_cannot_be_written_are_replaced() -> None:
    page = describe(Net("a\ud800b"), (2, 12, 12)).html()
    assert page.encode("utf-8")
    assert "a?b" in [e["text"] for e in Reader(page).all("th")]


def test_every_color_is_defined_for_light_and_dark(report: Report) -> None:
    page = report.html()
    light, dark = (set(re.findall(r"--([\w-]+):", rule)) for rule in re.findall(r"report \{ (--paper[^}]*)\}", page))
    used = set(re.findall(r"var\(--([\w-]+)\)", page))
    assert used <= light == dark
    assert {"paper", "ink", "convolution-fill", "linear"} <= used


def test_the_same_report_gives_the_same_page(report: Report) -> None:
    assert report.html() == describe(Net(), (2, 12, 12)).html()


def test_inputs_are_said_once() -> None:
    said = [Reader(describe(net, (2, 12, 12)).html()).all("p")[0]["text"] for net in (nn.Sequential(nn.ReLU()), Net())]
    assert said == ["Input 2x12x12", "Input x 2x12x12"]
