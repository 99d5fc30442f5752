from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from striate import zoo
from striate.errors import InputError
from striate.zoo.registry import as_size


def test_options_may_stand_in_the_name() -> None:
    torch.manual_seed(0)
    written = zoo.build("nielsen_mnist:maps=5", in_channels=3).state_dict()
    torch.manual_seed(0)
    passed = zoo.build("nielsen_mnist", maps=5, in_channels=3).state_dict()
    assert all(torch.equal(written[key], passed[key]) for key in written)
    assert written["conv.weight"].shape == (5, 3, 5, 5)


def test_an_argument_overrides_the_name() -> None:
    assert zoo.build("nielsen_mnist:maps=5", maps=7).conv.out_channels == 7


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("lenet", {}, r"^unknown network: got 'lenet'\. Did you mean lenet5\?"),
        ("lenet5:colour=3", {}, "^network lenet5 has no option: got 'colour'. Known: dropout, "),
        (
            "lenet5",
            {"num_classes": 1},
            "^cannot build network lenet5: num_classes: expected a whole number of at least 2",
        ),
        ("lenet5", {"in_channels": 0}, "in_channels: expected a whole number of at least 1, got 0"),
        (
            "lenet5",
            {"input_size": 27},
            "^the image is smaller than network lenet5 can take: .* 28x28 pixels, got 27x27",
        ),
        ("lenet5", {"input_size": (28, 5)}, "got 28x5. Enlarge the images"),
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
    assert as_size(size, "lenet5", 28) == (32, 32)


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
