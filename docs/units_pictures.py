"""Draw docs/units/*.png: what the units of a small network look for that was trained on the digits.

python docs/units_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import striate
from striate.interpret import ablate, feature_maps, filters, motif_spacing, mutagenesis, top_patches
from striate.interpret.sequences import one_hot

HERE = Path(__file__).with_name("units")


def trained(x: Tensor, targets: Tensor) -> nn.Sequential:
    """Large kernels, so that their orientations can be told."""
    model = nn.Sequential(
        nn.Conv2d(1, 24, 9), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 24, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(24 * 16, 10),
    )  # fmt: skip
    model[0].weight.data *= 0.1  # what is seen later was learned
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.2)
    for _ in range(25):
        for part in torch.randperm(len(x)).split(64):
            moved = torch.roll(x[part], tuple(torch.randint(-2, 3, (2,)).tolist()), (2, 3))
            optimizer.zero_grad()
            F.cross_entropy(model(moved), targets[part]).backward()
            optimizer.step()
    return model.eval()


def pair() -> nn.Sequential:
    """A network that wants GATA, and GGAA nine letters later."""
    both = nn.Conv1d(4, 1, 13)
    nn.init.zeros_(both.weight)
    both.weight.data[0, :, :4], both.weight.data[0, :, 9:] = one_hot("GATA"), one_hot("GGAA")
    both.bias.data.fill_(-4.5)
    return nn.Sequential(both, nn.Softplus(), nn.AdaptiveMaxPool1d(1), nn.Flatten())


def main() -> None:
    data = striate.open_session(striate.Recipe(model="keras_mnist", data="digits", image_size=28)).data
    x = data.preprocess.normalize(data.train.inputs)
    held, targets = data.preprocess.normalize(data.test.inputs), data.test.targets
    model = trained(x, data.train.targets)
    print("test accuracy", float((model(held).argmax(1) == targets).float().mean()))
    random = ["".join("ACGT"[i] for i in torch.randint(0, 4, (60,)).tolist()) for _ in range(20)]
    site = "TTCAGCATGATACCTTCGGAATCGA"
    figures = {
        "kernels": filters(model).gabors().plot(),
        "maps": feature_maps(model, held[3:4]).plot("4"),
        "patches": top_patches(model, x, "4").plot(),
        "ablation": ablate(model, held, "4", targets).plot(),
        "spacing": motif_spacing(pair(), "GATA", "GGAA", random, target=0).plot(),
        "logo": mutagenesis(pair(), site).logo(),
    }
    for name, figure in figures.items():
        figure.savefig(HERE / f"{name}.png", dpi=90)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
