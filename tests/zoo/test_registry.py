from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from striate import zoo
from striate.errors import InputError


def test_options_may_stand_in_the_name() -> None:
    torch.manual_seed(0)
    written = zoo.build("nielsen_mnist:maps=5", in_channels=3).state_dict()
    torch.manual_seed(0)
    passed = zoo.build("nielsen_mnist", maps=5, in_channels=3).state_dict()
    assert all(torch.equal(written[key], passed[key]) for key in written)
    assert written["conv.weight"].shape == (5, 3, 5, 5)


def test_a_value_without_a_key_is_the_first_option_of_the_network_itself() -> None:
    assert isinstance(zoo.build("lenet5:modern"), zoo.lenet.ModernLeNet5)
    assert zoo.build("nielsen_mnist:5", input_size=20).conv.out_channels == 5
    assert zoo.build("keras_fcn:0.25").conv1.out_channels == 8
    assert zoo.ARCHITECTURES["lenet5"].bind({"": "modern"}) == {"variant": "modern"}


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("nielsen_mnist:maps=5", {"maps": 5}, "network nielsen_mnist:maps=5: got maps. Take maps out of the name"),
        ("nielsen_mnist:5", {"maps": 7}, "got maps. Take maps out"),
        ("keras_mnist:dropout=0.1", {"dropout": 0.2}, "got dropout"),
        ("lenet5:input_size=32", {"input_size": (28, 28)}, r"out of the name \(training: --image-size\)"),
    ],
)
def test_an_option_in_the_name_and_beside_it_is_refused(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=f"^an option is given twice: .*{text}"):
        zoo.build(name, **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("keras_mnist:width=abc", "keras_mnist: width: expected a number in 0.001..100, got 'abc'"),
        ("keras_mnist:abc", "keras_mnist: width: expected a number in 0.001..100, got 'abc'"),
        ("keras_mnist:width=0", "keras_mnist: width: expected a number in 0.001..100, got 0"),
        ("keras_mnist:dropout=2", "keras_mnist: dropout: expected a number in 0..1, got 2"),
        ("lenet5:dropout=True", "lenet5: dropout: expected a number in 0..1, got True"),
        ("lenet5:variant=2.5", "lenet5: variant: expected text or a whole number, got 2.5"),
        ("nielsen_mnist:maps=2.5", "nielsen_mnist: maps: expected a whole number in 1..4096, got 2.5"),
        ("nielsen_mnist:maps=0", "nielsen_mnist: maps: expected a whole number in 1..4096, got 0"),
        ("mnist_fast:width=0", "mnist_fast: width: expected a whole number in 1..1024, got 0"),
    ],
)
def test_values_that_do_not_fit_are_refused(name: str, text: str) -> None:
    with pytest.raises(InputError, match=f"cannot build network {text}"):
        zoo.build(name)


def test_what_the_constructor_refuses_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("no memory\nat all")

    monkeypatch.setitem(zoo.ARCHITECTURES._entries, "x", replace(zoo.ARCHITECTURES["lenet5"], function=refuse))
    with pytest.raises(InputError, match="^cannot build network x: .*: got no memory$"):
        zoo.build("x")


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("lenet", {}, r"^unknown network: got 'lenet'\. Did you mean lenet5"),
        ("lenet5:colour=3", {}, "^network lenet5 has no option: got 'colour'. Known: dropout, "),
        (
            "lenet5",
            {"num_classes": 0},
            "^cannot build network lenet5: num_classes: expected a whole number of at least 1",
        ),
        ("lenet5", {"in_channels": 0}, "in_channels: expected a whole number of at least 1, got 0"),
        (
            "lenet5",
            {"input_size": 27},
            "^network lenet5 cannot take an input of this size: input_size: expected at least 28x28 pixels, got 27x27",
        ),
        ("lenet5", {"input_size": (28, 5)}, "got 28x5. Enlarge the input"),
        ("lenet5", {"input_size": [28]}, "got 28. "),
        ("lenet5", {"input_size": 28.5}, "got 28.5x28.5"),
        ("lenet5:input_size=big", {}, "got b"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        zoo.build(name, **options)


@pytest.mark.parametrize("size", [32, (32, 32), [32, 32]])
def test_a_size_is_one_number_or_two(size: Any) -> None:
    assert zoo.ARCHITECTURES["lenet5"].as_size(size) == (32, 32)


def test_an_entry_is_plain_data() -> None:
    entry = zoo.ARCHITECTURES["lenet5"]
    stored = json.loads(json.dumps(entry.json()))
    assert (stored["name"], stored["input"], stored["parameters"]) == ("lenet5", [1, 32, 32], 60_000)
    assert stored["options"]["variant"] == "1998"
    assert entry.takes_input_size
    assert not zoo.ARCHITECTURES["keras_fcn"].takes_input_size
    assert zoo.names() == tuple(zoo.ARCHITECTURES)


@pytest.mark.parametrize("name", ["lenet5:num_classes=3", "keras_fcn:in_channels=2"])
def test_classes_and_channels_are_no_part_of_the_name(name: str) -> None:
    with pytest.raises(InputError, match="the classes and channels of a network are no part of its name: .* Pass "):
        zoo.build(name)
