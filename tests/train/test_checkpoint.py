"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from striate.errors import InputError, StorageError
from striate.train import load_weights, read_tensors, save_tensors, write_atomically


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).T, "b": torch.tensor(7), "c": torch.zeros(0)}
    save_tensors(tmp_path / "x", tensors, {"step": 3, "names": ["ä"]})
    found, facts = read_tensors(tmp_path / "x")
    assert facts == {"step": 3, "names": ["ä"]}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_a_full_disk_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if fails == "write":
        monkeypatch.setattr(Path, "open", full)
    elif fails == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match=r"cannot write .*x: No space left on device. What it held before is kept"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_half_written_neighbor_is_no_harm(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"a": torch.ones(2)}, {})
    (tmp_path / "x.partial").write_bytes(b"half")
    assert read_tensors(tmp_path / "x")[0]["a"].tolist() == [1, 1]
    save_tensors(tmp_path / "x", {"a": torch.zeros(2)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("content", [b"", b"not tensors", None])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x"
    save_tensors(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-8] if content is None else content)
    with pytest.raises(InputError, match="cannot read tensors: .*x"):
        read_tensors(path)


def test_tensors_of_another_program_are_told(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x")
    with pytest.raises(InputError, match=r"tensors of another program: .*x: expected a file .* striate\.port\.load"):
        read_tensors(tmp_path / "x")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file: .*nothing: expected a file that striate saved"):
        read_tensors(tmp_path / "nothing")


def test_weights_of_another_network_are_named_and_change_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5)).state_dict()
    with pytest.raises(
        InputError, match="another network: here: got 1.weight 5x3 in the file, 4x3 in the network; 1.bias"
    ):
        load_weights(model, other, "here")
    with pytest.raises(InputError, match="0.weight absent in the file, 3x2 in the network.* and 1 more"):
        load_weights(model, {}, "here")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
