"""The training loop against a loop written out, and everything that it promises."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.data import Batches, Items, Meaning
from striate.errors import DivergedError, InputError
from striate.tasks import Classify
from striate.train import evaluate, fit

OPTIONS = {
    "adamw": {},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "step", "step_epochs": 1},
    "muon": {"optimizer": "muon"},
    "ema": {"ema": 0.9, "gradient_clip": 0.5},
    "accumulate": {"accumulate": 2, "label_smoothing": 0.1},
    "plateau": {"schedule": "plateau", "step_epochs": 1, "learning_rate": 0.5},
    "patience": {"patience": 1, "epochs": 4, "learning_rate": 0.3},
    "bf16": {"precision": "bf16-mixed"},
}


def test_equals_a_loop_written_out(small) -> None:
    recipe = replace(small.recipe, optimizer="sgd", schedule="constant", weight_decay=0.0, augment=(), epochs=1)
    ours = small.model(dropout=0)
    losses = [step.loss for step in fit(ours, small.task, small.data, recipe)]
    theirs = small.model(dropout=0)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    expected = []
    batches = Batches(small.data.train, small.data.preprocess, batch_size=100, seed=recipe.seed, drop_last=True)
    for batch in batches.epoch(0):
        loss = F.cross_entropy(theirs(batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-5)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_accumulated_batches_are_one_large_batch(small) -> None:
    plain = {"optimizer": "sgd", "augment": (), "epochs": 1, "schedule": "constant"}

    def last_loss(**options: object) -> float:
        torch.manual_seed(0)
        model, losses = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), []
        small.train(model, lambda step: losses.append(step.loss), **plain, **options)
        return losses[-1]

    assert last_loss(batch_size=50, accumulate=2) == pytest.approx(last_loss(batch_size=100), rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_resumed_anywhere_ends_bit_identical(small, same, tmp_path: Path, options: dict) -> None:
    whole, steps = small.model(), []
    small.train(whole, lambda step: steps.append(step), **options)
    for stop in {1, len(steps) // 2, steps[-1].number * 2 // 3, len(steps) - 1, len(steps)}:
        path = tmp_path / f"{stop}.safetensors"
        small.train(
            None, lambda step, stop=stop, path=path: step.number == stop and (step.save(path) or True), **options
        )
        resumed = small.model()
        resumed.load_state_dict({k: torch.zeros_like(v) for k, v in resumed.state_dict().items()})
        later = []
        small.train(resumed, lambda step, later=later: later.append(step), resume=path, **options)
        assert same(whole, resumed), stop
        told = [(s.number, s.loss, s.learning_rate, s.train_loss, s.validation) for s in steps[stop:]]
        assert told == [(s.number, s.loss, s.learning_rate, s.train_loss, s.validation) for s in later]


def test_another_seed_is_another_training(small, same) -> None:
    assert not same(small.train(), small.train(seed=1))
    assert same(small.train(), small.train())


def test_the_callers_random_numbers_are_left_alone(small, same) -> None:
    def disturb(_: object) -> None:
        torch.rand(3)

    torch.manual_seed(5)
    expected = torch.rand(1)
    model = small.model()
    torch.manual_seed(5)
    for _ in fit(model, small.task, small.data, small.recipe):
        pass
    assert torch.equal(torch.rand(1), expected)
    assert same(model, small.train(None, disturb))


def test_steps_tell_where_training_stands(small) -> None:
    steps = []
    small.train(None, steps.append)
    per_epoch = len(small.data.train) // 100
    assert [s.number for s in steps] == list(range(1, 2 * per_epoch + 1))
    assert [s.epoch for s in steps] == [1] * per_epoch + [2] * per_epoch
    assert [s.ends_epoch for s in steps] == ([False] * (per_epoch - 1) + [True]) * 2
    assert [s.last for s in steps] == [False] * (2 * per_epoch - 1) + [True]
    assert steps[per_epoch - 1].train_loss == pytest.approx(
        sum(s.loss for s in steps[:per_epoch]) / per_epoch, rel=1e-5
    )
    assert all(s.validation is None for s in steps if not s.ends_epoch)


def test_validation_is_of_the_kept_weights(small) -> None:
    told = []
    model = small.train(None, lambda s: told.append(s.validation), ema=0.8)
    found = evaluate(model, small.task, small.data.validation, small.data.preprocess, torch.device("cpu"))
    assert told[-1] == pytest.approx(small.task.metrics(*found), rel=1e-5)


def test_ema_is_the_average_of_the_weights(small) -> None:
    live = small.model()
    steps = fit(live, small.task, small.data, replace(small.recipe, ema=0.5, epochs=1))
    history = [live[0].weight.detach().clone() for _ in steps]
    expected = history[0]
    for weight in history[1:]:
        expected = expected * 0.5 + weight * 0.5
    torch.testing.assert_close(live[0].weight.detach(), expected)


def test_patience_stops_and_keeps_the_best_epoch(small) -> None:
    seen = []

    def look(step) -> None:
        if step.ends_epoch:
            seen.append((step.validation["loss"], {k: v.clone() for k, v in model.state_dict().items()}))

    model = small.model()
    small.train(model, look, patience=2, epochs=60, learning_rate=0.5, schedule="constant")
    losses = [loss for loss, _ in seen]
    assert len(seen) == losses.index(min(losses)) + 3 < 60
    best = seen[losses.index(min(losses))][1]
    assert all(torch.equal(best[k], v) for k, v in model.state_dict().items())


def test_gradient_clipping_bounds_the_update(small) -> None:
    model = small.model()
    before = {k: v.clone() for k, v in model.named_parameters()}
    options = {"optimizer": "sgd", "schedule": "constant", "learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    small.train(model, lambda _: True, gradient_clip=1e-3, **options)
    moved = math.sqrt(sum((p - before[k]).square().sum().item() for k, p in model.named_parameters()))
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_balanced_weights_and_training_mode(small) -> None:
    task = replace(small.task, class_weights=tuple(range(1, 11)))
    model = small.model().eval()
    list(fit(model, task, small.data, small.recipe))
    assert all(module.training for module in model.modules())


def test_training_learns(small) -> None:
    told = []
    small.train(None, lambda s: told.append(s.validation), epochs=15, learning_rate=0.01)
    assert told[-1]["accuracy"] > 0.9


class Explodes(nn.Module):
    """Becomes infinite at its third training forward."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self.inner, self.by, self.calls = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), by, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        out = self.inner(x)
        if self.calls == 3 and self.by == "loss":
            return out * math.nan
        if self.calls == 3 and self.training:
            out.register_hook(lambda g: g * math.inf)
        return out


def test_a_loss_that_is_no_number_stops_before_the_update(small, tmp_path: Path) -> None:
    model, seen = Explodes("loss"), []
    with pytest.raises(DivergedError, match=r"the loss became nan at step 3 \(epoch 1\).*Lower --learning-rate"):
        small.train(model, lambda step: seen.append(step.number) or step.save(tmp_path / "x"))
    assert seen == [1, 2]
    assert all(p.isfinite().all() for p in model.parameters())


def test_broken_weights_are_never_saved(small, tmp_path: Path) -> None:
    model = Explodes("gradient")
    with pytest.raises(DivergedError, match="weights are no longer finite .* at step 3; no checkpoint was written"):
        small.train(model, lambda step: step.save(tmp_path / "x"))
    resumed = Explodes("nothing")
    small.train(resumed, lambda _: True, resume=tmp_path / "x")
    assert all(p.isfinite().all() for p in resumed.parameters())


def test_what_does_not_fit_is_said_before_training(small) -> None:
    with pytest.raises(InputError, match="outputs do not fit the classes: expected 10 outputs .* got shape \\(3,\\)"):
        small.train(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    with pytest.raises(InputError, match="network cannot take the inputs: Linear, inputs 1x8x8: got .*--image-size"):
        small.train(nn.Linear(7, 10))
    labels = Classify(small.data.class_names, multi_label=True)
    with pytest.raises(InputError, match="targets do not fit the task: expected a row of zeros and ones"):
        next(fit(small.model(), labels, small.data, small.recipe))


def test_a_checkpoint_of_something_else_is_refused(small, tmp_path: Path) -> None:
    path = tmp_path / "x"
    small.train(None, lambda step: step.save(path) or True)
    with pytest.raises(InputError, match="checkpoint is of another recipe: .*: expected seed 0, got 1"):
        small.train(seed=1, resume=path)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(
        InputError, match="weights are of another network: .*1.weight 8 in the file, 10x64 in the network"
    ):
        small.train(other, resume=path)
    from striate.train import save_tensors

    save_tensors(path, {}, {"other": 1})
    with pytest.raises(InputError, match="no checkpoint of a training"):
        small.train(resume=path)


def test_a_checkpoint_of_other_data_is_refused(small, tmp_path: Path) -> None:
    path = tmp_path / "x"
    small.train(None, lambda step: step.save(path) or True)
    other = replace(small.data, train=small.data.train.subset(range(len(small.data.train) - 1)))
    with pytest.raises(InputError, match="data is not what it was when the training began: .*same items, classes"):
        fit(small.model(), small.task, other, small.recipe, resume=path)


def test_a_batch_without_any_weight_teaches_nothing(small) -> None:
    task = replace(small.task, class_weights=(0.0, *[1.0] * 9))
    output = torch.zeros(3, 10, requires_grad=True)
    loss = task.loss(output, torch.zeros(3, dtype=torch.int64))
    loss.backward()
    assert (loss.item(), output.grad.abs().max().item()) == (0, 0)


def test_unknown_devices_and_precisions_are_refused(small) -> None:
    with pytest.raises(InputError, match="no such device: gpu"):
        small.train(device="gpu")
    with pytest.raises(InputError, match="precision 16-mixed needs a GPU"):
        small.train(precision="16-mixed")


def test_wrong_bfloat16_convolutions_are_refused(small, monkeypatch: pytest.MonkeyPatch) -> None:
    right = F.conv2d

    def wrong(x, weight, **options):
        return right(x, weight, **options) * (0.9 if x.dtype == torch.bfloat16 else 1)

    monkeypatch.setattr(F, "conv2d", wrong)
    with pytest.raises(InputError, match="this CPU computes bfloat16 convolutions wrongly: kernel 2, stride 1.*10%"):
        small.train(precision="bf16-mixed")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_trains_on_a_gpu(small, precision: str) -> None:
    told = []
    small.train(None, lambda s: told.append(s.validation), epochs=8, device="cuda", precision=precision)
    assert told[-1]["accuracy"] > 0.85


@pytest.mark.parametrize("order", ["in_turn", "random"])
def test_images_are_trained_at_the_sizes_asked_for(small, order: str) -> None:
    torch.manual_seed(0)
    seen: list[int] = []
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    net.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[-1]) if module.training else None)
    small.train(net, train_sizes=(6, 12), size_order=order, epochs=2)
    assert set(seen) == {6, 12}
    if order == "in_turn":
        assert seen == sorted(seen)
        assert seen.count(6) in (len(seen) // 2, (len(seen) + 1) // 2)


def test_a_training_of_random_sizes_resumes_bit_for_bit(small, same, tmp_path: Path) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

    options = {"train_sizes": (6, 8, 12), "size_order": "random"}
    whole = small.train(network(), **options)
    small.train(network(), lambda step: step.number == 3 and (step.save(tmp_path / "c") or True), **options)
    assert same(whole, small.train(network(), resume=tmp_path / "c", **options))


def test_a_network_that_cannot_take_a_training_size_is_refused(small) -> None:
    with pytest.raises(InputError, match="the network cannot take the inputs: Sequential, inputs 1x12x12"):
        small.train(train_sizes=(8, 12))


def test_only_images_of_classes_are_resized(small) -> None:
    meaning = Meaning("values", ("weight",))
    weighed = Items(small.data.train.inputs, torch.zeros(len(small.data.train), 1), meaning, small.data.train.names)
    data = replace(small.data, train=weighed, validation=None)
    with pytest.raises(InputError, match="only images of classes are resized in training.*targets of kind values"):
        fit(nn.Linear(8, 10), small.task, data, replace(small.recipe, train_sizes=(8,)))


def test_a_network_that_constrains_itself_does_so_after_each_update(small) -> None:
    class Bounded(nn.Sequential):
        def constrain(self) -> None:
            with torch.no_grad():
                self[1].weight.copy_(self[1].weight.renorm(2, 0, 0.3))

    norms = []
    model = Bounded(nn.Flatten(), nn.Linear(64, 10))
    small.train(model, lambda _: norms.append(model[1].weight.norm(dim=1).max().item()), optimizer="sgd", epochs=1)
    assert len(norms) > 5
    assert max(norms) == pytest.approx(0.3, rel=1e-5)


def test_without_a_validation_part_the_training_loss_is_watched(small) -> None:
    """The weights kept are those of the epoch with the lowest mean loss, and plateaus lower the rate."""
    data = replace(small.data, validation=None)
    recipe = replace(
        small.recipe, validation=0.0, epochs=6, patience=7, schedule="plateau", step_epochs=1, learning_rate=1.5
    )
    model, kept, losses, rates = small.model(dropout=0), [], [], []
    for step in fit(model, small.task, data, recipe):
        if step.ends_epoch:
            assert step.validation is None
            losses.append(step.train_loss)
            rates.append(step.learning_rate)
            kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    best = losses.index(min(losses))
    assert all(torch.equal(tensor, kept[best][name]) for name, tensor in model.state_dict().items())
    rises = [epoch for epoch in range(1, 5) if losses[epoch] >= min(losses[:epoch])]
    for epoch in rises:
        assert rates[epoch + 1] < rates[epoch]
