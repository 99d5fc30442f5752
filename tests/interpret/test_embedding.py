from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances, silhouette_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from striate.data import Batches, Items, Meaning, Pictures
from striate.errors import InputError
from striate.interpret import embed, probes, separation
from striate.interpret.features import representations
from striate.interpret.features.embedding import Embedding, snapped
from striate.interpret.features.representations import collect, find_layers, pooled, run_layers, taken, thumbnails
from striate.interpret.features.separation import measured
from striate.train import read_tensors


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def labeled(n: int = 30) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three classes of noise, each brighter at its own rows."""
    targets = torch.arange(n) % 3
    x = torch.rand(n, 1, 8, 8, generator=generator())
    for item, target in enumerate(targets.tolist()):
        x[item, :, 2 * target : 2 * target + 2] += 2
    return list(zip(x.split(7), targets.split(7), strict=True))


def embedding(vectors: torch.Tensor, targets: torch.Tensor | None = None) -> Embedding:
    return Embedding("", vectors, targets, None)


def test_vectors_are_those_of_the_last_hidden_layer() -> None:
    model, batches = network().train(), labeled()
    found = embed(model, batches)
    inputs = torch.cat([x for x, _ in batches])
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(found.vectors, model[:7](inputs))
    assert torch.equal(found.targets, torch.arange(30) % 3)
    assert found.thumbnails.shape == (30, 1, 8, 8)
    assert found.thumbnails.min() == 0
    assert found.thumbnails.max() == 255


def test_a_layer_in_place_activations_and_maps_averaged() -> None:
    model, batches = network().eval(), labeled()
    inputs = torch.cat([x for x, _ in batches])
    with torch.no_grad():
        assert torch.equal(embed(model, batches, "0").vectors, model[0](inputs).mean((2, 3)))
        torch.testing.assert_close(embed(model, batches, "").vectors, model(inputs))


def test_batches_of_every_kind() -> None:
    pixels = torch.randint(0, 255, (9, 1, 8, 8), dtype=torch.uint8)
    items = Items(pixels, torch.arange(9) % 2, Meaning("class", ("a", "b")), "abcdefghi")
    preprocess = Pictures((1, 8, 8), mean=(0.5,), std=(0.5,))
    found = embed(network(), Batches(items, preprocess, batch_size=4).epoch(0), names=items.class_names)
    assert found.vectors.shape == (9, 8)
    assert found.targets.tolist() == [0, 1] * 4 + [0]
    assert embed(network(), [torch.rand(2, 1, 8, 8)]).targets is None
    x = torch.rand(250, 1, 8, 8)
    whole, parts = embed(network(), (x, torch.arange(250) % 3)), embed(network(), x.split(100))
    torch.testing.assert_close(whole.vectors, parts.vectors)
    torch.testing.assert_close(embed(network(), x).vectors, parts.vectors)
    assert whole.targets.tolist() == (torch.arange(250) % 3).tolist()
    words = nn.Sequential(nn.Embedding(9, 5), nn.Flatten(), nn.Linear(20, 2))
    texts = embed(words, [(torch.randint(0, 9, (6, 4)), torch.arange(6) % 2)])
    assert texts.vectors.shape == (6, 20)
    assert texts.thumbnails is None
    assert texts.plot("pca").axes
    apart = separation(words, (torch.randint(0, 9, (12, 4)), torch.arange(12) % 2))
    assert [one.layer for one in apart.layers] == ["0", ""]  # not the numbers of words
    with pytest.raises(InputError, match="no thumbnails to put on a grid: expected images or volumes. Plot with grid"):
        texts.plot("pca", grid=True)
    with pytest.raises(InputError, match="no thumbnails to draw"):
        texts.plot_neighbors([0], 2)


def test_pca_is_the_singular_value_decomposition() -> None:
    vectors = torch.randn(40, 6, generator=generator()) * torch.tensor([5.0, 3, 2, 1, 1, 1])
    points, shares = embedding(vectors).pca(3)
    centered = (vectors - vectors.mean(0)).double().numpy()
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    expected = torch.from_numpy(left[:, :3] * values[:3]).float()
    signs = (points * expected).sum(0).sign()  # a direction has two of them
    torch.testing.assert_close(points, expected * signs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(shares, torch.from_numpy(values[:3] ** 2 / (values**2).sum()).float())


def test_tsne_keeps_clusters_together() -> None:
    vectors = torch.cat([torch.randn(15, 20, generator=generator()) + 20 * k for k in range(3)])
    found = embedding(vectors, torch.arange(45) // 15)
    points = found.tsne(perplexity=8)
    assert measured(points, found.targets).accuracy == 1
    assert torch.equal(points, found.tsne(perplexity=8))
    assert found.plot(perplexity=8).axes


def test_few_items_have_few_neighbors() -> None:
    vectors = torch.cat([torch.randn(3, 20, generator=generator()) + 20 * k for k in range(2)])
    assert torch.equal(embedding(vectors).tsne(), embedding(vectors).tsne(2.0))
    assert embedding(vectors[:2]).tsne().shape == (2, 2)
    many = torch.randn(100, 5, generator=generator())
    assert torch.equal(embedding(many).tsne(), embedding(many).tsne(30.0))


@given(st.integers(1, 40), st.integers(0, 999), st.floats(1, 2))
@settings(max_examples=25)
def test_a_grid_holds_each_item_once_and_is_better_than_chance(n: int, seed: int, room: float) -> None:
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    side = math.ceil(math.sqrt(room * n))
    cells = snapped(points, side, side)
    assert len({tuple(cell) for cell in cells.tolist()}) == n
    assert int(cells.min()) >= 0
    assert int(cells.max()) < side

    def cost(cells: torch.Tensor) -> float:
        unit = (points - points.amin(0)) / (points.amax(0) - points.amin(0)).clamp_min(1e-30)
        where = torch.stack([(1 - unit[:, 1]) * (side - 1), unit[:, 0] * (side - 1)], 1)
        return float((cells - where).square().sum())

    every = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    for draw in range(5):
        order = torch.randperm(side * side, generator=torch.Generator().manual_seed(draw))[:n]
        assert cost(cells) <= cost(every[order]) + 1e-3


def test_many_items_are_placed_greedily(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(200, 2, generator=generator())
    best = snapped(points, 15, 15)
    monkeypatch.setattr("striate.interpret.features.embedding.EXACT", 10)
    near = snapped(points, 15, 15)
    assert len({tuple(cell) for cell in near.tolist()}) == 200
    shuffled = near[torch.randperm(200, generator=generator())]
    assert (near - best).float().norm(dim=1).mean() < (shuffled - best).float().norm(dim=1).mean() / 2


def test_neighbors_are_those_of_all_distances() -> None:
    vectors = torch.randn(25, 4, generator=generator())
    for metric in ("cosine", "euclidean"):
        found, far = embedding(vectors).neighbors(3, metric)
        distances = pairwise_distances(vectors.double().numpy(), metric=metric)
        np.fill_diagonal(distances, np.inf)
        assert found.tolist() == distances.argsort(1)[:, :3].tolist()
        torch.testing.assert_close(far.double(), torch.from_numpy(np.sort(distances, 1)[:, :3]), atol=1e-5, rtol=1e-4)


def test_separation_against_scikit_learn() -> None:
    vectors, targets = torch.randn(60, 5, generator=generator()), torch.arange(60) % 4
    vectors += 2 * targets[:, None]
    found = measured(vectors, targets, neighbors=1)
    assert found.silhouette == pytest.approx(silhouette_score(vectors.numpy(), targets.numpy()), abs=1e-5)
    nearest = KNeighborsClassifier(1)
    left_out = cross_val_score(nearest, vectors.numpy(), targets.numpy(), cv=LeaveOneOut()).mean()
    assert found.accuracy == pytest.approx(left_out)
    # Total scatter = between + within.
    total = float((vectors - vectors.mean(0)).square().sum())
    within = sum(float((part - part.mean(0)).square().sum()) for part in (vectors[targets == c] for c in range(4)))
    assert found.ratio == pytest.approx((total - within) / within, rel=1e-4)


def test_separation_by_layer_and_its_picture(tmp_path: Path) -> None:
    found = separation(network(), labeled(), ["0", ""])
    assert [one.layer for one in found.layers] == ["(input)", "0", ""]
    assert [one.dimensions for one in found.layers] == [64, 256, 3]
    assert found.layers[0].accuracy == 1
    assert found.plot().axes
    assert len(found.table().rows) == 3
    found.save(tmp_path / "found.json")
    assert '"neighbors": 5' in (tmp_path / "found.json").read_text()


def test_a_probe_of_what_is_separable_is_always_right_and_of_noise_by_chance() -> None:
    batches = labeled(120)
    train, test = batches[:9], batches[9:]
    found = probes(network(), train, test, ["1"])
    assert found.layers[0].accuracy == 1
    assert found.layers[0].training == 1
    shuffled = [(x, y[torch.randperm(len(y), generator=generator())]) for x, y in labeled(600)]
    noise = [(torch.rand(len(x), 1, 8, 8, generator=generator()), y) for x, y in shuffled]
    low, high = probes(network(), noise[:43], noise[43:], ["1"]).layers[0].interval
    assert low < 1 / 3 < high
    assert found.plot().axes
    assert found.json()["layers"][0]["layer"] == "(input)"


def test_a_probe_that_is_cut_short_says_so() -> None:
    found = probes(network(), labeled(), labeled(), ["0"], steps=2)
    assert not found.layers[0].converged
    assert "not converged" in str([*found.table().columns[4].cells])


def test_pooling_keeps_the_mean_and_the_bound() -> None:
    y = torch.rand(2, 3, 8, 6, generator=generator())
    assert pooled(y, 30).shape == (2, 27)
    assert torch.equal(pooled(y), y.mean((2, 3)))
    assert pooled(y, 1000).shape == (2, 144)
    assert pooled(torch.rand(2, 3, 4, 4, 4), 24).shape == (2, 24)
    torch.testing.assert_close(thumbnails(torch.ones(1, 1, 6, 64, 96)), torch.ones(1, 1, 21, 32))


def test_layers_are_found_in_the_order_they_run() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first, self.unused = nn.Linear(4, 2), nn.Conv1d(1, 1, 1), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x).flatten(1))

    x = torch.rand(1, 1, 4)
    assert find_layers(Backwards(), x, None) == (["first", ""], 2)
    deep = nn.Sequential(*[nn.ReLU() for _ in range(50)])
    layers, count = find_layers(deep, x, None)
    assert (len(layers), count, layers[0], layers[-1]) == (24, 50, "0", "")
    with pytest.raises(InputError, match="the layer was not called: unused"):
        run_layers(Backwards(), x, ["unused"])


def test_points_colored_grid_neighbors_and_file(tmp_path: Path) -> None:
    found = embed(network(), labeled(), names=("a", "b", "c"))
    assert found.plot("pca").axes
    assert found.plot("pca", grid=False).axes
    assert found.plot("pca", room=2.0).axes
    assert found.plot_neighbors([0, 4], 3).axes
    assert "silhouette of the classes" in [*found.table().columns[0].cells]
    assert len(found.json()["vectors"]) == 30
    found.save(tmp_path / "found.safetensors")
    tensors, facts = read_tensors(tmp_path / "found.safetensors")
    assert torch.equal(tensors["vectors"], found.vectors)
    assert facts["names"] == ["a", "b", "c"]
    wide = embed(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), labeled(), "")
    assert wide.plot("pca").axes  # one number an item


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representations, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="too many numbers to keep: expected at most 100 bytes. Take fewer items"):
        collect(network(), labeled(), ["0"])


def test_what_cannot_be_embedded() -> None:
    vectors = torch.randn(10, 3, generator=generator())
    with pytest.raises(InputError, match="no items to look at: expected at least one batch"):
        embed(network(), [])
    with pytest.raises(InputError, match=r"cannot read a batch: expected a striate.data.Batch, .* got str"):
        taken("abc")
    with pytest.raises(InputError, match="no last hidden layer: ReLU: expected a module Linear"):
        embed(nn.ReLU(), [torch.rand(2, 1, 4)])
    with pytest.raises(InputError, match="the output of a layer cannot be used: 0: expected the 2 items"):
        embed(nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (2, 4))), [torch.rand(2, 1, 4)], "0")
    with pytest.raises(InputError, match="perplexity of t-SNE: expected 1 to below 10, got 30.0"):
        embedding(vectors).tsne(30.0)
    with pytest.raises(InputError, match="perplexity of t-SNE: expected 1 to below 1, got 1.0"):
        embedding(vectors[:1]).tsne()
    with pytest.raises(InputError, match="no such principal components: expected 1 to 3, got 4"):
        embedding(vectors).pca(4)
    with pytest.raises(InputError, match="no such way to place items: expected tsne or pca, got 'umap'"):
        embedding(vectors).place("umap")
    with pytest.raises(InputError, match="no such distance: expected cosine or euclidean, got 'l1'"):
        embedding(vectors).neighbors(2, "l1")
    with pytest.raises(InputError, match="so many neighbors: expected 1 to 9, got 10"):
        embedding(vectors).neighbors(10)
    with pytest.raises(InputError, match="the items have no classes: expected batches of inputs and classes"):
        embedding(vectors).separation()
    with pytest.raises(InputError, match="the items have no classes: expected a class for each item"):
        probes(network(), [torch.rand(2, 1, 8, 8)], labeled())
    with pytest.raises(InputError, match="nothing to tell apart: train: expected 2 classes or more, got 1"):
        probes(network(), [(torch.rand(2, 1, 8, 8), torch.zeros(2).long())], labeled())
    with pytest.raises(InputError, match="classes cannot be compared: expected 2 classes or more, .* got 1 classes"):
        measured(vectors, torch.zeros(10).long())
    with pytest.raises(InputError, match="the grid is too small: expected 10 cells, got 3 x 3"):
        snapped(vectors[:, :2], 3, 3)
    found = embed(network(), labeled())
    with pytest.raises(InputError, match="room on the grid: expected 1 or more cells an item, got 0.5"):
        found.plot("pca", room=0.5)
    with pytest.raises(InputError, match=r"no such items: expected numbers of 0 to 29, got \[30\]"):
        found.plot_neighbors([30], 3)
