"""Batch norms inside convolutions: the same outputs and derivatives, and the network as it was."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from striate.geometry.trace import trace
from striate.interpret.lean import FEW, ROWS, lean, norms_inside, parts, rows_of, traced
from striate.interpret.scoring import output_of

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def network(rank: int, **options: bool) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        CONVOLUTIONS[rank](2, 4, 3, bias=False),
        NORMS[rank](4, **options),
        nn.ReLU(),
        CONVOLUTIONS[rank](4, 3, 2, groups=1, padding=1, padding_mode="circular"),
        NORMS[rank](3),
    ).double()
    for buffer in made.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0)
    for parameter in made.parameters():
        nn.init.uniform_(parameter, -1.0, 1.0)
    return made.eval()


def derivative(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad((model(x) ** 2).sum(), x)
    return found


def norms_left(model: nn.Module) -> int:
    return sum(
        module.forward.__name__ != "_as_it_is" for module in model.modules() if isinstance(module, (*NORMS.values(),))
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_outputs_and_derivatives_stay(rank, affine):
    model = network(rank, affine=affine)
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(3, 2, *[6] * rank, dtype=torch.float64)
    wanted, slopes = model(x), derivative(model, x)
    with norms_inside(model, trace(model, x[:1])):
        assert norms_left(model) == (0 if affine else 1)  # the second has weights
        torch.testing.assert_close(model(x), wanted)
        torch.testing.assert_close(derivative(model, x), slopes)
    assert norms_left(model) == 2
    assert model[0].bias is None
    assert all(torch.equal(now, then) for now, then in zip(model.state_dict().values(), before.values(), strict=True))


@pytest.mark.parametrize("layer", ["0", "1", "3", "4", "2"])
def test_a_layer_that_is_explained_returns_what_it_did(layer):
    model = network(2)
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    wanted = output_of(model, x, layer)
    with norms_inside(model, trace(model, x), layer):
        assert norms_left(model) == (1 if layer in "03" else 0)
        torch.testing.assert_close(output_of(model, x, layer), wanted)


class Twice(nn.Module):
    """A convolution that is called twice, with a norm behind each."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.first, self.second = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.first.running_mean.fill_(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.shared(self.first(self.shared(x))))


class Read(Twice):
    """A convolution that something else reads, too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.shared(x)
        return self.first(y) + y


class Returned(Twice):
    """A convolution that is also an output."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.shared(x)
        return self.first(y), y


class Renamed(Twice):
    """A convolution under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.shared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.again(self.first(self.shared(x))))


class Tied(Twice):
    """A decoder that reads the encoder's kernel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv_transpose2d(self.first(self.shared(x)), self.shared.weight)


class Directly(Twice):
    """A norm whose forward is called once more, past its hooks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first.forward(self.first(self.shared(x)))


class InTraining(Twice):
    """A norm with statistics of the batch, whatever the mode of the network."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.first.train()
        return self.first(self.shared(x))


def patched() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    model[1].running_mean.fill_(1.0)
    own = model[0]
    own.forward = lambda x: nn.functional.conv2d(x, own.weight.sign(), own.bias)
    return model


def changed() -> nn.Module:
    model = network(2)
    model[0].register_forward_hook(lambda _module, _args, out: out + 1)
    model[4].register_forward_pre_hook(lambda _module, args: (args[0] * 2,))
    return model


def without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)).double().eval()


def parametrized() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1)), nn.BatchNorm2d(2)).double().eval()


@pytest.mark.parametrize(
    "make",
    [Twice, Read, Returned, Renamed, Tied, Directly, InTraining, patched, changed, without_statistics, parametrized],
    ids=lambda make: make.__name__,
)
def test_what_others_read_stays(make):
    torch.manual_seed(1)
    model = make().double().eval()
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    wanted, count = model(x), norms_left(model)
    with norms_inside(model, trace(model, x[:1])):
        assert norms_left(model) == count
        torch.testing.assert_close(model(x), wanted)


def test_hooks_see_what_they_did():
    model, x, seen = network(2), torch.randn(1, 2, 6, 6, dtype=torch.float64), []
    block = nn.Sequential(model[0])
    model[0] = block
    block.register_forward_hook(lambda _module, _args, out: seen.append(out))
    graph = trace(model, x)
    seen.clear()
    wanted = model(x)
    with norms_inside(model, graph):
        torch.testing.assert_close(model(x), wanted)
    assert torch.equal(*seen)


def test_items_at_a_time():
    model, x = network(2), torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    assert traced(model, x, FEW - 1) is None
    with lean(model, None) as rows:
        assert rows == ROWS
        assert norms_left(model) == 2
    with lean(model, traced(model, x, FEW)) as rows:
        assert rows > ROWS
        assert norms_left(model) == 0
    large = nn.Sequential(nn.Conv2d(1, 64, 1))
    assert rows_of(trace(large, (1, 224, 224))) == 5
    assert rows_of(trace(large, (1, 112, 112))) == 31
    assert rows_of(trace(large, (1, 2240, 2240))) == 1
    deep = nn.Sequential(nn.Conv2d(1, 64, 1), *(nn.Conv2d(64, 64, 1) for _ in range(200)))
    assert rows_of(trace(deep, (1, 112, 112))) == 13  # 3.2 MB each


@given(st.integers(1, 300), st.integers(1, 40))
def test_parts_are_even(total, size):
    """All items once, in order; none larger than asked, none much smaller than another."""
    made = list(parts(total, size))
    assert [item for part in made for item in range(total)[part]] == list(range(total))
    sizes = [part.stop - part.start for part in made]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_a_network_that_cannot_be_traced_is_left_alone():
    class ByNumbers(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    assert traced(ByNumbers(), torch.zeros(1, 2, 6), FEW) is None
