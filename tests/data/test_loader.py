"""Batches: a pure function of (seed, epoch, number), the same however they are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data import Batch, Batches, Items, Meaning, Pictures, build_augmentation
from striate.data.cache import mapped
from striate.data.loader import seeded
from striate.errors import InputError

LETTERS = Meaning("class", tuple("abcd"))
TO_INPUT = Pictures((3, 6, 5), (0.4, 0.5, 0.6), (0.2, 0.3, 0.7))
SPECS = ["flip", "crop:pad=2", "rotate:10", "color", "pca_color", "cutout:2"]


def items(count: int = 37) -> Items:
    images = torch.randint(0, 256, (count, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Items(images, torch.arange(count) % 4, LETTERS, tuple(str(i) for i in range(count)))


def on_disk(folder: Path) -> Items:
    resident = items()
    (folder / "pixels").write_bytes(resident.inputs.numpy().tobytes())
    return Items(mapped(folder / "pixels", resident.inputs.shape), resident.targets, resident.meaning, resident.names)


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(getattr(a, name), getattr(b, name)) and getattr(a, name).stride() == getattr(b, name).stride()
        for a, b in zip(first, second, strict=True)
        for name in ("inputs", "targets", "index")
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("specs", [[], SPECS])
def test_streamed_batches_equal_resident_ones_bit_for_bit(tmp_path: Path, workers: int, specs: list[str]) -> None:
    augment = build_augmentation(specs, items().inputs)
    options = {"batch_size": 8, "seed": 3, "augment": augment}
    resident = Batches(items(), TO_INPUT, **options)  # type: ignore[arg-type]
    streamed = Batches(on_disk(tmp_path), TO_INPUT, workers=workers, resident_bytes=100, **options)  # type: ignore[arg-type]
    assert (resident.resident, streamed.resident) == (True, False)
    assert equal(list(resident.epoch(1)), list(streamed.epoch(1)))
    assert equal(list(resident.epoch(1))[3:], list(streamed.epoch(1, start=3)))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**63), epoch=st.integers(0, 1000), size=st.integers(1, 40), drop=st.booleans(), data=st.data()
)
def test_an_epoch_started_late_is_the_tail_of_the_epoch(
    seed: int, epoch: int, size: int, drop: bool, data: st.DataObject
) -> None:
    augment = build_augmentation(SPECS, items().inputs)
    drop = drop and size <= 37
    batches = Batches(items(), TO_INPUT, batch_size=size, seed=seed, augment=augment, drop_last=drop)
    whole = list(batches.epoch(epoch))
    start = data.draw(st.integers(0, len(batches)))
    fresh = Batches(items(), TO_INPUT, batch_size=size, seed=seed, augment=augment, drop_last=drop)
    assert equal(list(fresh.epoch(epoch, start)), whole[start:])
    assert len(whole) == len(batches) == (37 // size if drop else -(-37 // size))
    seen = torch.cat([batch.index for batch in whole]).tolist()
    assert len(set(seen)) == len(seen) == (37 // size * size if drop else 37)


def test_batches_are_the_normalized_items_at_their_index() -> None:
    everything = items()
    for batch in Batches(everything, TO_INPUT, batch_size=10, seed=0).epoch(4):
        assert torch.equal(batch.inputs, TO_INPUT.normalize(everything.inputs[batch.index]))
        assert torch.equal(batch.targets, everything.targets[batch.index])
        assert torch.equal(batch.inputs[0], TO_INPUT(everything.inputs[batch.index[0]]))
        assert len(batch) == len(batch.index)


def test_without_a_seed_the_items_come_in_order() -> None:
    batches = Batches(items(), TO_INPUT, batch_size=16)
    for epoch in (0, 1):
        assert torch.cat([batch.index for batch in batches.epoch(epoch)]).tolist() == list(range(37))


def test_epochs_seeds_and_batches_differ() -> None:
    def first(seed: int, epoch: int) -> list[int]:
        return next(Batches(items(), TO_INPUT, batch_size=37, seed=seed).epoch(epoch)).index.tolist()

    orders = {tuple(first(seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16  # a seed made as a sum would give 7
    draws = {seeded(*key).initial_seed() for key in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 1), (0, 1, 0), (0, 0, 1)]}
    assert len(draws) == 6


def test_augmentation_gets_pictures_in_0_to_1_and_is_normalized_after() -> None:
    def invert(
        images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert 0 <= images.min() <= images.max() <= 1
        assert generator.device.type == "cpu"
        return 1 - images, targets

    everything = items()
    batch = next(Batches(everything, TO_INPUT, batch_size=5, seed=0, augment=invert).epoch(0))
    expected = TO_INPUT.normalize(255 - everything.inputs[batch.index])
    torch.testing.assert_close(batch.inputs, expected)


def test_every_batch_of_every_epoch_has_its_own_draws() -> None:
    def drawn(
        images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(1, generator=generator).expand_as(images), targets

    batches = Batches(items(), TO_INPUT, batch_size=5, seed=0, augment=drawn)
    values = {float(batch.inputs.flatten()[0]) for epoch in range(3) for batch in batches.epoch(epoch)}
    assert len(values) == 3 * len(batches)


def test_multi_label_targets_pass_through() -> None:
    rows = torch.randint(0, 2, (37, 4)).float()
    everything = Items(items().inputs, rows, Meaning("labels", tuple("abcd")), items().names)
    batch = next(Batches(everything, TO_INPUT, batch_size=6, seed=1).epoch(0))
    assert torch.equal(batch.targets, rows[batch.index])


@pytest.mark.parametrize("resident_bytes", [1 << 30, 0])
def test_no_global_random_state_is_touched(tmp_path: Path, resident_bytes: int) -> None:
    augment = build_augmentation(SPECS, items().inputs)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    batches = Batches(
        on_disk(tmp_path), TO_INPUT, batch_size=8, seed=0, augment=augment, workers=1, resident_bytes=resident_bytes
    )
    list(batches.epoch(0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_batch_that_is_changed_changes_no_other(tmp_path: Path) -> None:
    for everything, limit in ((items(), 1 << 30), (on_disk(tmp_path), 0)):
        pixels = everything.inputs.clone()
        batches = Batches(everything, TO_INPUT, batch_size=8, seed=0, workers=0, resident_bytes=limit)
        untouched = list(batches.epoch(0))
        copies = [batch.inputs.clone() for batch in untouched]
        for batch in batches.epoch(0):
            batch.inputs.zero_()
            batch.targets.zero_()
        assert all(torch.equal(batch.inputs, copy) for batch, copy in zip(untouched, copies, strict=True))
        assert equal(list(batches.epoch(0)), untouched)
        assert torch.equal(everything.inputs, pixels)


def test_a_run_that_stops_early_ends_its_workers(tmp_path: Path) -> None:
    import multiprocessing

    batches = Batches(on_disk(tmp_path), TO_INPUT, batch_size=2, seed=0, workers=2, resident_bytes=0)
    epoch = batches.epoch(0)
    next(epoch)
    assert len(multiprocessing.active_children()) == 2
    epoch.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch size is not positive: expected at least 1, got 0"),
        ({"batch_size": 38, "drop_last": True}, "no full batch: .* got batches of 38, 37 items"),
        ({"augment": lambda images, targets, _: (images, targets)}, "augmentation without a seed"),
        ({"seed": -1}, "seed is negative: expected at least 0, got -1"),
        ({"workers": -1}, "number of workers is negative"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Batches(items(), TO_INPUT, **({"batch_size": 8} | options))  # type: ignore[arg-type]


def test_images_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"items do not fit the preprocessing: expected \(1, 6, 5\), got \(3, 6, 5\)"):
        Batches(items(), Pictures((1, 6, 5), (0.0,), (1.0,)), batch_size=8)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 6)])
def test_batches_that_are_not_there(epoch: int, start: int) -> None:
    with pytest.raises(InputError, match=f"no such batch: .*got epoch {epoch}, start {start}"):
        Batches(items(), TO_INPUT, batch_size=8).epoch(epoch, start)
