"""Every annotated call of striate is checked in the tests, so this must run before striate is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import jaxtyping
import numpy as np
import pytest
import torch

# An int where a float is annotated is fine (PEP 484), as mypy has it; checks leave the random state alone.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True, is_random=False))"
# The window algebra is pure whole numbers, called millions of times, and mypy knows its types. So are the
# brush strokes of a rendered scene, thousands of times.
UNCHECKED = {"geometry.indices", "geometry.window", "geometry.reading", "data.roads"}
SOURCE = find_spec("striate").submodule_search_locations[0]
MODULES = {".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in Path(SOURCE).rglob("[!_]*.py")}
# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("striate", deadline=None)
hypothesis.settings.load_profile("striate")
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2  # a worker beside others
torch.set_num_threads(min(THREADS, torch.get_num_threads()))  # OMP_NUM_THREADS may say one


def pytest_configure(config: pytest.Config) -> None:
    """Before striate is imported: the checks, through which torch.compile (slow tests) cannot look."""
    if config.option.markexpr != "slow":
        jaxtyping.install_import_hook([f"striate.{module}" for module in sorted(MODULES - UNCHECKED)], CHECKER)


@pytest.fixture(autouse=True)
def subnormal_numbers() -> Iterator[None]:
    """Training flushes them to zero for the whole process, and hypothesis draws them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def shared_data() -> Path:
    """The data sets that lie beside the repository."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"{path} is not here")
    return path


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked, as for users: a wrong type gets as far as our own words for it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


FAST = ["--model", "keras_mnist:width=0.25", "--image-size", "12", "--epochs", "2", "--batch-size", "100"]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short real run that many tests look at."""
    from striate.cli import main

    out = tmp_path_factory.mktemp("runs")
    main(["train", *FAST, "--device", "cpu", "--out", str(out)])
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits as the four files of MNIST: 24x24 within 28x28, every sixth one a test digit."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.zeros((len(bunch.images), 28, 28), np.uint8)
    images[:, 2:26, 2:26] = (bunch.images * 15).astype(np.uint8).repeat(3, 1).repeat(3, 2)
    path, tested = tmp_path_factory.mktemp("digits"), np.arange(len(images)) % 6 == 0
    for part, where in (("train", ~tested), ("t10k", tested)):
        for kind, array in (("images-idx3", images[where]), ("labels-idx1", bunch.target[where].astype(np.uint8))):
            head = (2048 + array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (path / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return path
