from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.errors import InputError
from striate.recipe import Optimizer, Recipe, Schedule, read_sides

share = st.floats(0, 1, exclude_max=True)
positive = st.floats(0, 1e6, exclude_min=True)
# PyYAML reads back the Unicode line breaks that it wrote as spaces.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"))
recipes = st.builds(
    Recipe,
    model=words,
    data=words,
    image_size=st.none() | st.integers(1, 9999) | st.from_regex(r"[1-9]{1,4}x[1-9]{1,4}", fullmatch=True),
    channels=st.sampled_from([None, 1, 3]),
    validation=st.floats(0.01, 0.99),
    skip_corrupt=st.booleans(),
    epochs=positive,
    batch_size=st.integers(1, 10**12),
    beta2=share,
    patience=st.none() | st.integers(1),
    optimizer=st.sampled_from(get_args(Optimizer)),
    learning_rate=positive,
    momentum=share,
    schedule=st.sampled_from(get_args(Schedule)),
    warmup=st.none() | share,
    final_learning_rate=st.floats(0, 1),
    gradient_clip=st.none() | positive,
    augment=st.lists(words).map(tuple),
    class_weights=st.none() | st.just("balanced") | st.lists(positive).map(tuple),
    seed=st.integers(0, 2**63),
    precision=st.sampled_from(["32-true", "bf16-mixed"]),
)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@given(recipes)
def test_a_recipe_survives_its_file(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    assert Recipe.read(written(tmp_path_factory.getbasetemp(), recipe.yaml())) == recipe


@settings(max_examples=200)
@given(st.text() | st.dictionaries(st.sampled_from(["seed", "augment", "ema"]), words).map(str))
def test_any_text_is_a_recipe_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = written(tmp_path_factory.getbasetemp(), text.encode(errors="replace"))
    with contextlib.suppress(InputError):
        assert isinstance(Recipe.read(path), Recipe)


def test_an_image_size_may_be_height_and_width(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, "image_size: 180x240"))
    assert (recipe.image_size, read_sides(recipe.image_size or 0)) == ("180x240", (180, 240))
    assert read_sides(Recipe.read(written(tmp_path, "image_size: '64'")).image_size or 0) == (64, 64)


def test_what_a_file_leaves_out_has_the_default(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, "epochs: 3\nlearning_rate: 1\naugment: [flip]\n"))
    assert recipe == Recipe(epochs=3, learning_rate=1.0, augment=("flip",))
    assert [type(v) for v in (recipe.learning_rate, recipe.augment)] == [float, tuple]


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    assert yaml.safe_load("3e-4") == "3e-4"
    assert Recipe.read(written(tmp_path, "learning_rate: 3e-4\nema: 999e-3")) == Recipe(learning_rate=3e-4, ema=0.999)


WHOLE = ("batch_size", "accumulate", "step_epochs", "patience")
SHARES = ("validation", "test", "momentum", "beta2", "final_momentum", "dropout", "label_smoothing", "ema", "warmup")
OUT_OF_RANGE = [
    *((key, value, "at least 1") for key in WHOLE for value in (0, -1)),
    *((key, -1, "at least 0") for key in ("seed", "workers", "weight_decay", "fold")),
    *(("folds", value, "at least 2") for value in (1, -1)),
    *((key, value, "above 0") for key in ("epochs", "learning_rate", "gradient_clip") for value in (0.0, -1.0)),
    *((key, value, "at least 0, below 1") for key in SHARES for value in (-0.1, 1.0)),
    *((key, value, "from 0 to 1") for key in ("final_learning_rate", "step_factor") for value in (-0.1, 1.1)),
    *(("channels", value, "1 or 3") for value in (0, 2)),
    *(
        ("image_size", value, "a side of at least 1, or height and width, as 180x240")
        for value in (0, -1, "big", "64,48", "0x64", "64x", "64x64x3", "٣x٤")
    ),
]


@pytest.mark.parametrize(("key", "value", "expected"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused(key: str, value: float | str, expected: str) -> None:
    with pytest.raises(InputError, match=rf"^recipe: {key} is out of range: expected {expected}, got {value}"):
        Recipe(**{key: value})


def test_every_number_is_checked_for_its_range() -> None:
    numbers = {f.name for f in dataclasses.fields(Recipe) if {"int", "float"} & set(str(f.type).split(" | "))}
    assert numbers == {key for key, _, _ in OUT_OF_RANGE}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"optimizer": "muon", "precision": "16-mixed"}, "muon cannot scale 16-bit.*expected precision bf16-mixed"),
        ({"folds": 5, "fold": 5}, "recipe: fold is out of range: expected 0 to 4, got 5"),
        ({"fold": 1}, "recipe: fold is out of range: expected folds beside it, got 1"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Recipe(**values)


WRONG_TYPES = [
    ("batch_size", "three", "a whole number"),
    ("batch_size", 2.0, "a whole number"),
    ("batch_size", True, "a whole number"),
    ("image_size", 2.5, "a whole number or text or null"),
    ("patience", "some", "a whole number or null"),
    ("learning_rate", "fast", "a finite number"),
    ("learning_rate", False, "a finite number"),
    ("learning_rate", float("nan"), "a finite number"),
    ("learning_rate", float("inf"), "a finite number"),
    ("learning_rate", 10**400, "a finite number"),
    ("model", 5, "text"),
    ("skip_corrupt", 1, "true or false"),
    ("optimizer", "adam", "sgd or adamw or muon or adadelta"),
    ("augment", "flip", "a list of texts or null"),
    ("augment", [1], "a list of texts or null"),
    ("class_weights", "heavy", "balanced or a list of finite numbers or null"),
]


@pytest.mark.parametrize(("key", "value", "expected"), WRONG_TYPES)
def test_a_wrong_type_is_refused(key: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=f"^wrong type: file: {key}: expected {expected}, got "):
        Recipe.from_mapping({key: value}, where="file")
    recipe = Recipe()
    object.__setattr__(recipe, key, value)  # past the tests' own type checker
    with pytest.raises(InputError, match=f"^wrong type: recipe: {key}: expected {expected}, got "):
        recipe.__post_init__()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", r"^unknown key: .*recipe\.yaml: got 'epoch'\. Did you mean epochs"),
        ("1: 3", r"^unknown key: .*: got 1\. Known: accumulate, "),
        ("batch_size: three", r"^wrong type: .*recipe\.yaml: batch_size: expected a whole number, got 'three'"),
        ("[1, 2]", r"^the recipe is no mapping: .*recipe\.yaml: expected lines of key: value\. Write "),
        ("", "^the recipe is no mapping"),
        ("a: [", r"^the recipe is no YAML: .*recipe\.yaml: got .*line 1.* Write lines of key: value, as in"),
        ("seed: 2001-99-99", "^the recipe is no YAML: .*month must be in 1..12"),
        (b"\xff\xfe\xff", r"^cannot read the recipe: .*recipe\.yaml: got no text"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe.read(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^cannot read the recipe: .*no\.yaml: got No such file or directory$"):
        Recipe.read(tmp_path / "no.yaml")
    with pytest.raises(InputError, match="got Is a directory$"):
        Recipe.read(str(tmp_path))


@pytest.mark.parametrize("module", ["striate.recipe", "striate.cli"])
def test_torch_is_not_imported(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "False\n"
