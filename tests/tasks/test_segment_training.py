"""Segmentation through the recipe, the loop and the command line, as every other task; and slowly, to a threshold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import striate
from striate.cli import main
from striate.data import load_data
from striate.data.roads import write_camvid
from striate.errors import InputError
from striate.tasks import Segment, task_of


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camvid")
    write_camvid(folder, (6, 2, 3), height=32, width=48)
    return folder


def test_camvid_becomes_data_with_masks_of_the_same_size(scenes: Path) -> None:
    data = load_data(f"camvid:{scenes}", image_size=(16, 24))
    assert [len(part) for part in (data.train, data.validation, data.test) if part] == [6, 2, 3]
    assert data.train.inputs.shape == (6, 3, 16, 24)
    assert data.train.targets.shape == (6, 16, 24)
    task = task_of("segment:median", data)
    assert isinstance(task, Segment)
    assert task.palette == data.meaning.palette
    assert task.class_weights is not None
    assert len(task.class_weights) == 11
    assert task_of("segment:dice=0.5,stride=8", data) == Segment(
        data.class_names, palette=data.meaning.palette, dice=0.5, stride=8
    )


def test_own_folders_of_pictures_and_masks(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(scenes / "train")
    (tmp_path / "masks").symlink_to(scenes / "trainannot")
    (tmp_path / "classes.txt").write_text("\n".join([*map(str, range(11)), "void 11"]))
    own = load_data(f"masks:{tmp_path}", test=0, validation=0).train
    other = load_data(f"camvid:{scenes}").train
    assert torch.equal(own.targets, other.targets)
    assert torch.equal(own.inputs, other.inputs)


def test_folds_of_the_membranes_hold_slabs_of_six(shared_data: Path) -> None:
    spec = f"isbi:{shared_data / 'isbi-membrane' / 'membrane.tar.gz'}"
    seen = []
    for fold in (0, 3):
        data = load_data(spec, folds=5, fold=fold, validation=0, image_size=32)
        assert data.test is not None
        numbers = [int(name.split()[-1]) for name in data.test.names]
        assert numbers == list(range(numbers[0], numbers[0] + 6))
        assert numbers[0] % 6 == 0
        seen += numbers
    assert len(set(seen)) == 12


def test_train_evaluate_and_predict(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--task", "segment:median", "--model", "segnet:width=0.05", "--epochs", "1", "--batch-size", "3"]
    size = ["--image-size", "32x64", "--augment", "flip", "elastic:2", "cut:0.5", "--label-smoothing", "0"]
    main(["train", "--data", f"camvid:{scenes}", *options, *size, "--device", "cpu", "--out", str(tmp_path / "runs")])
    (run,) = (tmp_path / "runs").iterdir()
    assert "mean IoU" in capsys.readouterr().out
    assert striate.Recipe.read(run / "recipe.yaml").image_size == "32x64"
    assert striate.load(run)[1].input_shape == (3, 32, 64)
    main(["evaluate", str(run), "--json"])
    scores = json.loads(capsys.readouterr().out)
    assert scores["n"] == 3
    assert len(scores["per_class"]) == 11
    pictures = sorted((scenes / "test").iterdir())
    main(["predict", str(run), *map(str, pictures), "--out", str(tmp_path / "answers")])
    for picture in pictures:
        with Image.open(tmp_path / "answers" / f"{picture.stem}.mask.png") as mask:
            assert (mask.mode, mask.size) == ("P", (48, 32))  # as the picture is, all of it
            assert np.asarray(mask).max() < 11
        assert (tmp_path / "answers" / f"{picture.stem}.overlay.png").is_file()


def test_a_network_with_one_answer_for_the_picture_is_refused(scenes: Path) -> None:
    recipe = striate.Recipe(model="lenet5", data=f"camvid:{scenes}", image_size=32, device="cpu")
    session = striate.open_session(recipe)
    with pytest.raises(InputError, match="^the network's outputs do not fit the classes: expected 11 maps for each"):
        next(striate.fit(session.model, session.task, session.data, session.recipe))


@pytest.mark.parametrize("model", ["unet:rank=1,width=0.1,dropout=0", "unet:rank=3,width=0.05,dropout=0"])
def test_signals_and_volumes_learn_a_threshold(model: str) -> None:
    """The same task on one and three axes: the class is whether the input is positive."""
    rank = 1 if "rank=1" in model else 3
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, *(16,) * rank, generator=generator)
    target = (x[:, 0] > 0).to(torch.uint8)
    task, net = Segment(("low", "high")), striate.build(model, num_classes=2)
    task.check(net(x), target)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    first = task.loss(net(x), target).item()
    for _ in range(12):
        optimizer.zero_grad()
        loss = task.loss(net(x), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss.item() < first
    kept = task.keep(net(x), target)
    assert task.score(kept, target).per_class[0].pixels == int((target == 0).sum())


@pytest.mark.slow
def test_segnet_learns_the_rendered_roads() -> None:
    """recipes/roads_segnet.yaml, narrower and shorter."""
    recipe = striate.Recipe.read(Path(__file__).parents[2] / "recipes" / "roads_segnet.yaml")
    values = {"model": "segnet:width=0.125", "epochs": 5.0, "device": "cpu"}
    session = striate.open_session(striate.Recipe(**{**vars(recipe), **values}))
    for step in striate.fit(session.model, session.task, session.data, session.recipe):
        last = step.train_loss
    assert last is not None
    items = session.data.tested
    kept = striate.train.evaluate(session.model, session.task, items, session.data.preprocess, torch.device("cpu"))
    scores = session.task.score(*kept)
    assert scores.accuracy > 0.55  # 0.61 after so short a training; the commonest class alone is 0.46
    assert scores.mean_iou > 0.15
