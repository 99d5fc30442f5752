"""What the documents say is what the files say."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from striate import zoo
from striate.data.roads import write_camvid
from striate.demonstrations import DEMONSTRATIONS
from striate.recipe import Recipe
from striate.runs import open_session
from striate.train import fit

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def script(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)  # dataclasses look there
    monkeypatch.syspath_prepend(path.parent)  # as Python does for a script
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script(ROOT / "benchmarks" / "tables.py", monkeypatch)


def test_tables_are_generated(tables: ModuleType) -> None:
    for name, table in tables.PAGES.items():
        page = (ROOT / name).read_text()
        assert page == tables.with_table(page, table()), "run: python benchmarks/tables.py"
    assert (ROOT / "docs" / "peers.md").read_text() == tables.peers_page(), "run: python benchmarks/tables.py"
    assert (ROOT / "recipes" / "README.md").read_text() == tables.recipes_page(), "run: python benchmarks/tables.py"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/clips.md",
        "docs/tasks.md",
        "docs/views.md",
        "docs/segmentation.md",
        "docs/places.md",
        "docs/restoration.md",
        "docs/signals.md",
        "docs/guide.md",
        "docs/geometry.md",
        "docs/locality.md",
        "docs/operations.md",
        "docs/algorithms.md",
        "docs/layers.md",
        "docs/acceleration.md",
        "docs/countings.md",
        "docs/demonstrations.md",
        "docs/peers.md",
        "docs/sequences.md",
        "docs/cams.md",
        "docs/interpretation.md",
        "docs/recipes.md",
        "docs/techniques.md",
        "docs/augment/README.md",
        "docs/zoo/README.md",
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_page_of_the_zoo_has_every_network_and_its_count() -> None:
    page = (ROOT / "docs" / "zoo" / "README.md").read_text()
    rows = {row[0]: row for line in page.splitlines() if len(row := line[2:-2].split(" | ")) == 8}
    for name, entry in zoo.ARCHITECTURES.items():
        assert f"{entry.parameters:,}" == rows[f"[`{name}`](#{name})"][3]
        assert f"\n### {name}\n" in page
        assert f"({name}.png)" in page


def test_the_page_of_the_zoo_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = script(ROOT / "docs" / "zoo.py", monkeypatch)
    reports = {name: generator.reported(entry) for name, entry in zoo.ARCHITECTURES.items()}
    assert (ROOT / "docs" / "zoo" / "README.md").read_text() == generator.page(reports), "run: python docs/zoo.py"


def test_the_page_of_demonstrations_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = script(ROOT / "docs" / "demonstrations.py", monkeypatch)
    page = (ROOT / "docs" / "demonstrations.md").read_text()
    assert page == generator.page(DEMONSTRATIONS.values()), "run: python docs/demonstrations.py"
    drawn = {generator.file_name(spec) for entry in DEMONSTRATIONS.values() for spec in entry.examples}
    assert {file.name for file in (ROOT / "docs" / "demonstrations").iterdir()} == drawn


def test_profiles_keep_branches_together_leave_gates_out_and_show_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = script(ROOT / "docs" / "zoo.py", monkeypatch)
    heights = {}
    for name in ("inception_v2", "se_resnet50", "unet"):
        stages = generator.stages(generator.reported(zoo.ARCHITECTURES[name]))
        heights[name] = [stage.size[0] for stage in stages if stage.size]
    assert heights["inception_v2"] == [224, 112, 56, 28, 14, 7]
    assert heights["se_resnet50"] == [224, 112, 56, 28, 14, 7]
    assert heights["unet"] == [512, 512, 256, 128, 64, 32, 64, 128, 256, 512]


QUICK = {"digits", "mnist", "fashion"}  # a step takes milliseconds


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_what_it_claims(path: Path) -> None:
    claim = r"^# Claim: (none|.*\d)"
    assert re.search(claim, path.read_text(), re.MULTILINE)
    assert Recipe.read(path).model


def test_two_objects_were_shown_to_a_run_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = script(ROOT / "recipes" / "two_objects.py", monkeypatch)
    settings = shown.settings(Recipe.read(ROOT / "recipes" / "clutter.yaml"))
    stored = json.loads((ROOT / "recipes" / "two_objects.json").read_text())
    assert stored["recipe"] == json.loads(json.dumps(settings)), "run: recipes/two_objects.py on a run of clutter.yaml"


RECIPE = "# striate train a.yaml\n# Claim: none.\nmodel: lenet5\nepochs: 3\n"


def test_a_claim_replaces_the_head_and_keeps_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, run = tmp_path / "a.yaml", tmp_path / "run"
    path.write_text(RECIPE)
    run.mkdir()
    (run / "recipe.yaml").write_text("model: lenet5\nepochs: 3\nseed: 7\n")
    epochs = [{"kind": "epoch", "seconds": 1.5}, {"kind": "step"}, {"kind": "epoch", "seconds": 2.5}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in epochs))
    claim = script(ROOT / "recipes" / "claim.py", monkeypatch)
    claim.claim_of_runs([run], path, ["# Claim: 99 %."])
    head = "# Claim: 99 %.\n# Training: 4 s by the clock."
    assert path.read_text() == RECIPE.replace("# Claim: none.", head)


def test_sequences_are_apart_that_share_no_stretch_on_either_strand(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = script(ROOT / "recipes" / "claim.py", monkeypatch)
    rows = torch.randint(0, 4, (56, 101), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    train, test = rows[:50], rows[50:]
    test[1, 10:50] = train[7, 30:70]
    test[2, 10:49], test[2, 9], test[2, 49] = train[7, 30:69], (train[7, 29] + 1) % 4, (train[7, 69] + 1) % 4  # 39
    test[3, 50:95] = (3 - train[9, :45]).flip(0)
    test[4, :60] = train[4, :60] = 4  # unknown bases are not shared
    assert claim.unlike(train, test, 40).tolist() == [True, False, True, False, True, True]
    texts = ["".join("ACGTN"[k] for k in row) for row in train.tolist()]
    other = str.maketrans("ACGT", "TGCA")
    for row, alone in zip(test.tolist(), claim.unlike(train, test, 12).tolist(), strict=True):
        text = "".join("ACGTN"[k] for k in row)
        parts = {strand[i : i + 12] for strand in (text, text.translate(other)[::-1]) for i in range(90)}
        assert alone != any(part in known for part in parts if "N" not in part for known in texts)


def test_a_run_of_other_settings_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(RECIPE)
    (tmp_path / "recipe.yaml").write_text("model: lenet5\nepochs: 4\n")
    script(ROOT / "recipes" / "claim.py", monkeypatch).claim_of_runs([tmp_path], path, ["# Claim: 99 %."])
    assert path.read_text() == RECIPE
    assert "a.yaml is left as it is: a run has another epochs" in capsys.readouterr().out


def test_every_row_of_the_techniques_is_one_change_of_its_base(monkeypatch: pytest.MonkeyPatch) -> None:
    techniques = script(ROOT / "recipes" / "techniques.py", monkeypatch)
    monkeypatch.setattr(techniques, "pretrained", lambda *_: Path("run"))
    place = techniques.Place(Path("images"), 0.5)
    labels = []
    for technique, changes in techniques.TECHNIQUES.items():
        base = place.recipe(technique if technique in techniques.OWN_BASE else "base", {}, 1)
        for change in changes:
            recipe = place.recipe(technique, change, 1)
            differing = {key for key, value in vars(recipe).items() if value != getattr(base, key)}
            wanted = {key.replace("option", "model") for key in change} - {"networks"}
            assert differing - {"fold", "seed"} == wanted, change
            assert "model" not in wanted or zoo.build(recipe.model)
            labels.append((technique, techniques.spelled(change)))
    assert len(set(labels)) == len(labels)


def noise_as_cifar10(folder: Path) -> None:
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        records = np.random.default_rng(0).integers(0, 256, (600, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / f"{name}.bin")


# Files in the published form of sets that the shared data do not have in it.
STAND_INS = {
    "cifar10": noise_as_cifar10,
    "camvid": lambda folder: write_camvid(folder, (16, 2, 2), height=360, width=480),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains(path: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert shared_data.is_dir()
    recipe = Recipe.read(path)
    source, _, data = recipe.data.partition(":")
    if source in STAND_INS:
        STAND_INS[source](tmp_path)
        recipe = replace(recipe, data=f"{source}:{tmp_path}")
    elif data and not Path(data).exists():
        pytest.skip(f"{data} is not here")
    session = open_session(recipe)
    steps = fit(session.model, session.task, session.data, session.recipe)
    losses = [next(steps).loss for _ in range(80 if path.stem in QUICK else 2)]
    assert all(map(math.isfinite, losses))
    if path.stem in QUICK:
        assert sum(losses[-10:]) < sum(losses[:10])


def test_the_python_of_the_readme_runs() -> None:
    readme = (ROOT / "README.md").read_text()
    block = next(b for b in re.findall(r"(?:^    .*\n|^\n)+", readme, re.MULTILINE) if "import striate" in b)
    code = "\n".join(line[4:] for line in block.splitlines()).partition("model, card")[0]
    exec(code.replace("epochs=10", "epochs=0.1"), {})


@pytest.mark.slow
def test_the_degradation_recipe_runs_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def run(*networks: str, epochs: str = "0.2") -> str:
        script = [sys.executable, ROOT / "recipes" / "degradation.py", "digits", "--out", tmp_path, "--epochs", epochs]
        done = subprocess.run([*script, "--networks", *networks], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "plain20: update 3 of 3, training error" in run("plain20")
    again = run("plain20", "resnet20")
    assert "plain20: update" not in again
    assert "resnet20: update 3 of 3" in again
    assert (tmp_path / "degradation.png").stat().st_size > 5_000
    assert "holds another setting" in run("plain20", epochs="0.3")


@pytest.mark.slow
def test_the_recipe_of_techniques_runs_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def run(*techniques: str, share: str = "0.02") -> str:
        script = [sys.executable, ROOT / "recipes" / "techniques.py", "digits", "--out", tmp_path, "--seeds", "2"]
        options = ["--share", share, "--only", *techniques]
        done = subprocess.run([*script, *options], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert run("base").count("base, nothing: {'seed': ") == 2
    again = run("base", "ensembling", "pre-training")
    assert "base, nothing" not in again
    assert again.count("ensembling, networks: 3: {") == 2
    rows = json.loads((tmp_path / "techniques.json").read_text())["rows"]
    assert [(row["technique"], row["base"]) for row in rows[:3]] == [
        ("base", "base"),
        ("ensembling", "base"),
        ("pre-training", "pre-training"),
    ]
    assert [len(row["runs"]) for row in rows] == [2] * 5
    assert (tmp_path / "techniques.png").stat().st_size > 5_000
    assert "holds another setting" in run("base", share="0.03")


def test_the_python_of_the_page_on_interpretation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    page = (ROOT / "docs" / "interpretation.md").read_text()
    block = next(b for b in re.findall(r"(?:^    .*\n|^\n)+", page, re.MULTILINE) if "import explain" in b)
    torch.manual_seed(0)
    names: dict[str, object] = {"model": zoo.build("lenet5").eval(), "x": torch.rand(1, 1, 32, 32)}
    monkeypatch.chdir(tmp_path)
    exec("\n".join(line[4:] for line in block.splitlines()), names)
    assert (tmp_path / "map.npz").is_file()
