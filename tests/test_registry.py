from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.errors import InputError
from striate.registry import Registry, bind_options, parse_spec

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
plain_text = st.from_regex(r"[a-z/.][a-zA-Z/._-]{0,9}", fullmatch=True).filter(
    lambda t: t not in ("None", "True", "False")
)
values = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none() | plain_text


@dataclass(frozen=True)
class Tool:
    name: str


def tools(*names: str) -> Registry[Tool]:
    registry: Registry[Tool] = Registry("tool")
    for name in names:
        registry.add(Tool(name))
    return registry


def test_entries_keep_their_order() -> None:
    registry = tools("saw", "axe")
    assert list(registry) == ["saw", "axe"]
    assert len(registry) == 2
    assert registry["axe"] == Tool("axe")
    assert "axe" in registry
    assert "pen" not in registry
    assert 3 not in registry


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(InputError, match=r"^two tools have one name: got saw\. Rename one of them\.$"):
        tools("saw", "saw")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^unknown tool: got 'sow'\. Did you mean saw\?$"):
        tools("saw", "hammer")["sow"]
    with pytest.raises(InputError, match=r"got 'saw'\. Known: none\."):
        tools()["saw"]


@given(names, st.dictionaries(names, values))
def test_a_written_spec_is_read_back(name: str, options: dict[str, Any]) -> None:
    text = ",".join(f"{key}={value}" for key, value in options.items())
    assert parse_spec(f"{name}:{text}") == (name, options)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("lenet5", ("lenet5", {})),
        ("lenet5:", ("lenet5", {})),
        (" flip : 0.5 ", ("flip", {"": 0.5})),
        ("crop:4,mode=zeros", ("crop", {"": 4, "mode": "zeros"})),
        ("mnist:/a/b=c", ("mnist", {"/a/b": "c"})),
        ("a:b='x'", ("a", {"b": "x"})),
        ("a:{[]:1}", ("a", {"": "{[]:1}"})),
        ("a:" + "-" * 99999 + "1", ("a", {"": "-" * 99999 + "1"})),
    ],
)
def test_specs_worked_by_hand(text: str, parsed: tuple[str, dict[str, Any]]) -> None:
    assert parse_spec(text) == parsed


@pytest.mark.parametrize(("text", "what"), [("a:b=1,b=2", "b"), ("a:1,2", "2")])
def test_an_option_given_twice_is_refused(text: str, what: str) -> None:
    with pytest.raises(InputError, match=rf"^an option is given twice: '{text}': got {what}\. Keep one\.$"):
        parse_spec(text)


def rotate(images: Any, degrees: float = 0, mode: str = "") -> None: ...


@pytest.mark.parametrize(
    ("options", "bound"),
    [({}, {}), ({"": 10}, {"degrees": 10}), ({"": 10, "mode": "x"}, {"degrees": 10, "mode": "x"}), ({"mode": 1},) * 2],
)
def test_a_value_without_a_key_is_the_first_option(options: dict[str, Any], bound: dict[str, Any]) -> None:
    given_options = dict(options)
    assert bind_options("change", "rotate", rotate, options, skip=1) == bound
    assert options == given_options


def test_filled_options_are_given_with_their_key_only() -> None:
    assert bind_options("change", "rotate", rotate, {"": "x"}, 1, ["degrees"]) == {"mode": "x"}
    assert bind_options("change", "rotate", rotate, {"degrees": 1, "": "x"}, 1, ["degrees"]) == {
        "mode": "x",
        "degrees": 1,
    }
    with pytest.raises(InputError, match="^change rotate takes no options: got 3"):
        bind_options("change", "rotate", rotate, {"": 3}, 1, ["degrees", "mode"])


@pytest.mark.parametrize(
    ("options", "skip", "text"),
    [
        ({"": 10, "degrees": 5}, 1, r"^an option is given twice: change rotate: got degrees\. Keep one\.$"),
        ({"degree": 5}, 1, r"^change rotate has no option: got 'degree'\. Did you mean degrees\?$"),
        ({"images": 5}, 1, r"^change rotate has no option: got 'images'\. Known: degrees, mode\.$"),
        ({"": 10}, 3, r"^change rotate takes no options: got 10\. Write just rotate\.$"),
        ({"mode": 10}, 3, r"^change rotate has no option: got 'mode'\. Known: none\.$"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], skip: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        bind_options("change", "rotate", rotate, options, skip)
