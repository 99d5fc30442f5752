"""Where tiles come from and go to: files read in parts, results that go on after a kill, and memory."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import InputError, StorageError
from striate.locality import tile
from striate.locality.tile import ledger, source

spec = importlib.util.spec_from_file_location("tiles", Path(__file__).with_name("tiles.py"))
assert spec is not None
assert spec.loader is not None
tiles: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiles)
assert_equal, least, running, small, whole = tiles.assert_equal, tiles.least, tiles.running, tiles.small, tiles.whole


# Files


def tiff(path: Path, array: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, array, **options)
    return path


TIFFS: dict[str, dict[str, Any]] = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "tiled": {"tile": (16, 32), "compression": "zlib"},
    "strips": {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    "one strip": {"rowsperstrip": 100, "compression": "zlib"},
}


@pytest.mark.parametrize("name", TIFFS)
@pytest.mark.parametrize("channels", ["yx", "yxs", "syx", "zyx"])
def test_a_tiff_is_read_as_it_lies(name: str, channels: str, tmp_path: Path) -> None:
    shape = tuple({"y": 45, "x": 53, "s": 3, "z": 5}[axis] for axis in channels)
    image = np.random.default_rng(0).integers(0, 60_000, shape, np.uint16)
    extra = (
        {"photometric": "rgb", "planarconfig": "contig" if channels == "yxs" else "separate"} if "s" in channels else {}
    )
    path = tiff(tmp_path / "i.tif", image, **TIFFS[name], **({"photometric": "minisblack"} | extra))
    x = torch.from_numpy(image.astype(np.float32))
    x = {"yx": x[None], "yxs": x.movedim(-1, 0), "syx": x, "zyx": x[None]}[channels][None] / 1000
    net = nn.Conv3d(1, 2, 3, padding=1) if channels == "zyx" else small(x.shape[1])
    opened = source.open_source(path)
    assert opened.shape == x.shape
    starts, sizes = [1, 17, 30][-len(x.shape) + 2 :], [3, 20, 23][-len(x.shape) + 2 :]
    part = x[(..., *(slice(a, a + n) for a, n in zip(starts, sizes, strict=True)))] * 1000
    assert opened.read(0, starts, sizes).float().allclose(part)

    def prepare(part: Tensor) -> Tensor:
        return part / 1000

    budget = 6 * least(net, path, prepare=prepare)
    assert_equal(tile(net, path, budget_bytes=budget, prepare=prepare), whole(net, x), 1e-5)


def test_only_the_segments_that_a_crop_touches_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiff(tmp_path / "i.tif", np.zeros((256, 256), np.uint8), tile=(32, 32), compression="zlib")
    opened = source.open_source(path)
    read = tifffile.tifffile.FileHandle.read
    count = [0]

    def counted(*args: Any) -> bytes:
        count[0] += 1
        return read(*args)

    monkeypatch.setattr(tifffile.tifffile.FileHandle, "read", counted)
    opened.read(0, [0, 0], [256, 256])
    everything, count[0] = count[0], 0
    opened.read(0, [40, 100], [20, 30])
    assert everything - count[0] == 64 - 2


@pytest.mark.parametrize(("axes", "move"), [("cyx", (0, 1, 2)), ("yxc", (1, 2, 0)), ("xcy", (2, 0, 1))])
@pytest.mark.parametrize("kind", ["array", "npy"])
def test_an_array_with_channels_anywhere(axes: str, move: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (2, 40, 47), np.uint8)
    net, x = small(2), torch.from_numpy(image[None].astype(np.float32) / 255)
    stored: Any = image.transpose(move)
    if kind == "npy":
        np.save(tmp_path / "i.npy", stored)
        stored = tmp_path / "i.npy"
    made = tile(net, stored, axes=axes, budget_bytes=20_000, prepare=lambda part: part / 255)
    assert_equal(made, whole(net, x.transpose(2, 3) if axes == "xcy" else x), 1e-5)


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no")
    (tmp_path / "a.npy").write_text("no")
    with pytest.raises(InputError, match=r"this is neither a .npy file nor a TIFF: .*a.tif"):
        tile(small(), tmp_path / "a.tif", budget_bytes=1 << 20)
    with pytest.raises(InputError, match=r"this file cannot be mapped: .*a.npy"):
        tile(small(), tmp_path / "a.npy", budget_bytes=1 << 20)
    np.save(tmp_path / "f.npy", np.zeros((40, 41), order="F"))
    with pytest.raises(InputError, match=r"this file has its first axis innermost: .*f.npy"):
        tile(small(), tmp_path / "f.npy", budget_bytes=1 << 20, axes="yx")


@pytest.mark.parametrize("options", [{}, {"tile": (128, 128), "compression": "zlib"}])
def test_a_file_that_ends_early_is_told(options: dict[str, Any], tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (256, 256), np.uint8)
    path = tiff(tmp_path / "i.tif", image, **options)
    os.truncate(path, path.stat().st_size - 1000)
    with pytest.raises(InputError, match=r"the file ends early: .*i.tif"):
        tile(nn.Conv2d(1, 1, 3, padding=1), path, budget_bytes=1 << 24)


class Piecewise(io.FileIO):
    """A file of which the system moves at most 7 bytes at a time."""

    def readinto(self, view: Any) -> int:
        return super().readinto(view[:7])

    def write(self, view: Any) -> int:
        return super().write(view[:7])


def test_what_the_system_moves_in_pieces_arrives_whole(tmp_path: Path) -> None:
    row, got = np.arange(10, dtype=np.int32), np.empty(10, np.int32)
    with Piecewise(str(tmp_path / "a"), "w+") as file:
        ledger.put(file, row)
        file.seek(0)
        source.fill(file, got, tmp_path / "a")
    assert np.array_equal(got, row)


def test_a_budget_has_room_for_the_largest_segment(tmp_path: Path) -> None:
    image, budgets = np.zeros((512, 512), np.uint8), []
    for rows in (16, 512):
        path = tiff(tmp_path / f"{rows}.tif", image, rowsperstrip=rows, compression="zlib")
        budgets.append(least(small(), path))
    assert budgets[1] - budgets[0] >= 512 * (512 - 16)


def test_a_result_goes_where_it_is_told(tmp_path: Path) -> None:
    net, x = small(), torch.rand(2, 1, 40, 41)
    wanted, budget = whole(net, x), least(net, x)
    for out in (torch.empty(wanted.shape), np.empty(wanted.shape, np.float32)):
        made = tile(net, x, budget_bytes=budget, out=out)
        assert_equal(torch.as_tensor(out), wanted, 1e-5)
        assert made.data_ptr() == torch.as_tensor(out).data_ptr()
    made = tile(net, x, budget_bytes=budget, out=tmp_path / "y.npy")
    assert_equal(made, wanted, 1e-5)
    made[:] = 0  # the mapping is the caller's own
    assert_equal(torch.from_numpy(np.load(tmp_path / "y.npy")), wanted, 1e-5)


# Stopped, and gone on


def test_a_finished_result_returns_at_once(tmp_path: Path) -> None:
    net, x = small(), torch.rand(1, 1, 40, 41)
    first = tile(net, x, budget_bytes=20_000, out=tmp_path / "y.npy").clone()
    with running(net) as sizes:
        assert_equal(tile(net, x, budget_bytes=20_000, out=tmp_path / "y.npy"), first, 0)
    assert len(sizes) == 1  # the rehearsal


def test_an_interrupted_result_goes_on(tmp_path: Path) -> None:
    net, x, runs = small(), torch.rand(1, 1, 40, 41), [0]

    def stop(*_: Any) -> None:
        runs[0] += 1
        if runs[0] == 4:
            raise KeyboardInterrupt

    budget = least(net, x) * 2
    with running(net) as sizes:
        tile(net, x, budget_bytes=budget, out=tmp_path / "z.npy")
    tiled = len(sizes) - 1
    hook = net.register_forward_hook(lambda _, args, __: None if args[0].is_meta else stop())
    with pytest.raises(KeyboardInterrupt):
        tile(net, x, budget_bytes=budget, out=tmp_path / "y.npy")
    hook.remove()
    assert json.loads((tmp_path / "y.npy.json").read_text())["done"] == 2
    with running(net) as sizes:
        made = tile(net, x, budget_bytes=budget, out=tmp_path / "y.npy")
    assert len(sizes) == 1 + tiled - 2
    assert_equal(made, whole(net, x), 1e-5)


def test_a_result_of_something_else_is_refused(tmp_path: Path) -> None:
    net, x, out = small(), torch.rand(1, 1, 40, 41), tmp_path / "y.npy"
    tile(net, x, budget_bytes=60_000, out=out)
    with pytest.raises(InputError, match=r"has another input: .*y\.npy: .*Delete both files to begin anew"):
        tile(net, x + 1, budget_bytes=60_000, out=out)
    with pytest.raises(InputError, match="has another crop"):
        tile(net, x, budget_bytes=least(net, x), out=out)
    with torch.no_grad():
        net[0].bias += 1
    with pytest.raises(InputError, match="has another network"):
        tile(net, x, budget_bytes=60_000, out=out)
    out.unlink()
    with pytest.raises(InputError, match=r"the result that was begun is gone: .*Delete .*y\.npy\.json"):
        tile(small(), x, budget_bytes=60_000, out=out)
    Path(f"{out}.json").write_text("{}")
    with pytest.raises(InputError, match="this file does not say how far a result is"):
        tile(net, x, budget_bytes=60_000, out=out)
    Path(f"{out}.json").unlink()
    out.write_text("mine")
    with pytest.raises(InputError, match="a file is there already, and no result that can go on"):
        tile(net, x, budget_bytes=60_000, out=out)
    assert out.read_text() == "mine"


class Padded(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 1, 1, 1), value=self.value)


class Times(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.full((4, 1, 1), value), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.value


OTHERS: dict[str, tuple[nn.Module, nn.Module]] = {
    "activation": (nn.ReLU(), nn.Tanh()),
    "approximation": (nn.GELU(), nn.GELU(approximate="tanh")),
    "pooling": (nn.MaxPool2d(3), nn.AvgPool2d(3)),
    "dilation": (nn.MaxPool2d(3, 1, 1, 2), nn.MaxPool2d(5, 1, 1)),
    "border": (nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    "padding": (Padded(0), Padded(1)),
    "buffer": (Times(2), Times(3)),
    "epsilon": (nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_result_of_another_network_is_refused(name: str, tmp_path: Path) -> None:
    first, x, out = small()[0], torch.rand(1, 1, 40, 41), tmp_path / "y.npy"
    one, other = (nn.Sequential(first, layer) for layer in OTHERS[name])
    tile(one, x, budget_bytes=1 << 20, out=out)
    tile(one, x, budget_bytes=1 << 20, out=out)
    with pytest.raises(InputError, match="has another network"):
        tile(other, x, budget_bytes=1 << 20, out=out)


def test_a_result_of_another_preparation_is_refused(tmp_path: Path) -> None:
    net, x, out = small(), np.full((40, 41), 9, np.uint8), tmp_path / "y.npy"
    x[:10] = 0
    tile(net, x, budget_bytes=1 << 20, out=out, axes="yx", prepare=lambda part: part / 255)
    with pytest.raises(InputError, match="has another prepare"):
        tile(net, x, budget_bytes=1 << 20, out=out, axes="yx", prepare=lambda part: part / 1000)


def test_an_input_in_memory_that_differs_in_one_number_is_another() -> None:
    x = torch.zeros(1, 3, 700, 600)
    for stored in (x, x.numpy(), x.numpy()[..., ::-1], x.to(torch.bfloat16)):
        before = source.open_source(stored).identity()
        x[0, 2, 345, 123] += 1
        stored[0, 2, 345, 123] = x[0, 2, 345, 123].item()
        assert source.open_source(stored).identity() != before


class Lazy:
    """An array that counts what is read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.reads, self.numbers = array, array.shape, array.dtype, 0, 0

    def __getitem__(self, part: Any) -> np.ndarray:
        found = self.array[part]
        self.reads, self.numbers = self.reads + 1, self.numbers + found.size
        return found


@pytest.mark.parametrize("shape", [(1500, 1300, 3), (3, 1500, 1300), (5, 7), (4000, 1000), (4000_000,)])
def test_of_a_lazy_array_a_sample_is_read_in_few_parts(shape: tuple[int, ...]) -> None:
    x = Lazy(np.random.default_rng(0).random(shape, np.float32))
    axes = {1: "x", 2: "yx", 3: "yxc" if shape[-1] == 3 else "cyx"}[len(shape)]
    first = source.open_source(x, axes).identity()
    assert x.reads <= 256
    assert min(x.array.size, 130_000) <= x.numbers <= source.SAMPLE
    assert source.open_source(x, axes).identity() == first
    x.array = x.array + 1
    assert source.open_source(x, axes).identity() != first


def test_a_network_of_any_numbers_has_a_digest() -> None:
    kinds = (torch.bfloat16, torch.float64, torch.bool, torch.int64, torch.complex64)
    for tensor in (t.to(kind) for kind in kinds for t in (torch.tensor(1), torch.ones(1, 3, 4, 5))):
        tensor = tensor.to(memory_format=torch.channels_last) if tensor.dim() else tensor
        found = {ledger.digest([("a", t)]) for t in (tensor, tensor.clone(), torch.zeros_like(tensor))}
        assert len(found) == 2


@pytest.mark.parametrize("at", ["note", "rename"])
def test_a_kill_before_the_first_part_stands_in_nobodys_way(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x, out = small(), torch.rand(1, 1, 40, 41), tmp_path / "y.npy"
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.suffix == (".json" if at == "note" else ".npy"):
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            tile(net, x, budget_bytes=60_000, out=out)
    assert not out.exists()
    assert_equal(tile(net, x, budget_bytes=60_000, out=out), whole(net, x), 1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"y.npy", "y.npy.json"}


def test_a_system_that_cannot_reserve_room_runs_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    net, x = small(), torch.rand(1, 1, 40, 41)
    assert_equal(tile(net, x, budget_bytes=60_000, out=tmp_path / "y.npy"), whole(net, x), 1e-5)


def test_a_disk_that_is_full_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"cannot write .*y\.npy: No space left on device"):
        tile(small(), torch.rand(1, 1, 40, 41), budget_bytes=60_000, out=tmp_path / "y.npy")
    assert not list(tmp_path.iterdir())


SLOWED = """
import sys, time
import torch
from torch import nn
from striate.locality import tile
from striate.locality.tile import ledger
ledger.EVERY = 0
torch.set_num_threads(1)
net = nn.Conv2d(1, 1, 3, padding=1)
nn.init.ones_(net.weight), nn.init.ones_(net.bias)
hook = net.register_forward_hook(lambda _, args, __: None if args[0].is_meta else time.sleep(0.05))
x = torch.arange(10_000.0).view(1, 1, 100, 100)
tile(net, x, budget_bytes=20_000, out=sys.argv[1])
"""


def test_a_killed_result_goes_on(tmp_path: Path) -> None:
    out, net, x = tmp_path / "y.npy", nn.Conv2d(1, 1, 3, padding=1), torch.arange(10_000.0).view(1, 1, 100, 100)
    nn.init.ones_(net.weight)
    nn.init.ones_(net.bias)
    with subprocess.Popen([sys.executable, "-c", SLOWED, str(out)], env=environment()) as process:
        while not (Path(f"{out}.json").exists() and json.loads(Path(f"{out}.json").read_text())["done"] > 2):
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    done = json.loads(Path(f"{out}.json").read_text())["done"]
    with running(net) as sizes:
        made = tile(net, x, budget_bytes=20_000, out=out)
    assert_equal(made, whole(net, x), 1e-6)
    with running(net) as all_sizes:
        tile(net, x, budget_bytes=20_000, out=tmp_path / "z.npy")
    assert len(sizes) == len(all_sizes) - done
    assert done < len(all_sizes) - 1


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


MEASURED = """
import sys
import numpy as np, torch
import striate
from striate.locality import tile
torch.set_num_threads(1)
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
net = striate.build("unet", width=0.0625)
tile(net, torch.rand(1, 1, 256, 256), budget_bytes=40 << 20)  # libraries load their code
open("/proc/self/clear_refs", "w").write("5")
before = peak()
made = tile(net, sys.argv[1], budget_bytes=int(sys.argv[2]), out=sys.argv[3], axes="yx")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no peak memory to be read here")
@pytest.mark.parametrize("budget", [32 << 20, 96 << 20])
def test_the_most_memory_held_is_within_the_budget(budget: int, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1100, 1500), np.uint8)
    np.save(tmp_path / "x.npy", image)
    arguments = [sys.executable, "-c", MEASURED, str(tmp_path / "x.npy"), str(budget), str(tmp_path / "y.npy")]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) <= budget


PLAIN = """
import sys, torch
from striate.locality import tile
tile(torch.nn.Conv2d(1, 1, 3), torch.rand(1, 1, 64, 64), budget_bytes=1 << 20)
assert "torch._dynamo" not in sys.modules
"""


def test_the_compiler_of_torch_is_not_loaded() -> None:
    subprocess.run([sys.executable, "-c", PLAIN], env=environment(), check=True)
