"""Are the zoo's networks those of torchvision, timm and Keras? Random weights copied over, outputs compared.

python benchmarks/zoo_parity.py [NAME ...]

Writes results/zoo_parity.json: for each network and peer the greatest difference of the outputs, relative to the
greatest output. Keras' weights are copied in the order of its layers, with its axes permuted.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
warnings.simplefilter("ignore")

import torch
from torch import nn

import striate
from measure import THREADS, write
from peers import declare_torchvision_operators
from striate.port import load

LIMIT = 1e-5
# Ours, with options: theirs, with options.
TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet_owt": ("alexnet", {}),
    **{f"vgg{n}": (f"vgg{n}", {}) for n in (11, 13, 16, 19)},
    **{f"vgg{n}:batch_norm=True": (f"vgg{n}_bn", {}) for n in (11, 13, 16, 19)},
    "googlenet:batch_norm=True": ("googlenet", {"aux_logits": False, "init_weights": False}),
    "inception_v3": ("inception_v3", {"aux_logits": False, "init_weights": False}),
    **{f"resnet{n}": (f"resnet{n}", {}) for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": (f"densenet{n}", {}) for n in (121, 169, 201)},
    "mobilenet_v2": ("mobilenet_v2", {}),
    "squeezenet1_0": ("squeezenet1_0", {}),
    "squeezenet1_1": ("squeezenet1_1", {}),
}
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"vgg{n}": (f"vgg{n}", {}) for n in (11, 13, 16, 19)},
    **{f"resnet{n}": (f"resnet{n}", {}) for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": (f"densenet{n}", {}) for n in (121, 169, 201)},
    "inception_v3": ("inception_v3", {}),
    "inception_v4": ("inception_v4", {}),
    "se_resnet50": ("seresnet50", {}),
    "mobilenet_v1": ("mobilenetv1_100", {}),
    "mobilenet_v2": ("mobilenetv2_100", {}),
}
KERAS = {"vgg16": "VGG16", "vgg19": "VGG19", "resnet50:stride_in_1x1=True": "ResNet50", "densenet121": "DenseNet121"}
KERAS |= {"mobilenet_v1": "MobileNet", "inception_v3": "InceptionV3"}


def stirred(model: nn.Module) -> nn.Module:
    """In eval mode, with statistics and scales that are not the identity."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Greatest difference, relative to the greatest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def against_torch(name: str, theirs: nn.Module) -> float:
    """Their weights in our network, by `striate.port.load`."""
    base = name.partition(":")[0]
    ours = striate.build(name).eval()
    load(ours, stirred(theirs).state_dict())
    x = torch.rand(2, *striate.zoo.ARCHITECTURES[base].input)
    return difference(ours(x), theirs(x))


def against_keras(name: str, theirs: str) -> float:
    """Keras' random weights in our network."""
    import keras

    entry = striate.zoo.ARCHITECTURES[name.partition(":")[0]]
    size = (*entry.input[1:], entry.input[0])
    model = getattr(keras.applications, theirs)(weights=None, input_shape=size, classifier_activation=None)
    ours = striate.build(name).eval()
    copy_keras(model, ours)
    x = torch.rand(2, *entry.input)
    output = model(x.permute(0, 2, 3, 1), training=False)
    if theirs == "MobileNet":  # Keras pads strided convolutions behind, the paper's code before: mirror images
        for module in ours.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.flip(2, 3)
        x = x.flip(2, 3)
    if theirs == "InceptionV3":  # Keras' average pooling leaves padding out of the count, torchvision's and ours do not
        for module in ours.modules():
            if isinstance(module, nn.AvgPool2d):
                module.count_include_pad = False
    return difference(ours(x), output.detach())


def copy_keras(model: Any, ours: nn.Module) -> None:
    """Layer by layer of each kind in the order of our definition; a scale that Keras leaves out is 1 in ours."""
    layers = sorted(model.layers, key=place if model.name in ("resnet50", "inception_v3") else lambda _: 0)
    convolutions = [layer for layer in layers if "Conv2D" in type(layer).__name__]
    norms = [layer for layer in layers if type(layer).__name__ == "BatchNormalization"]
    dense = [layer for layer in layers if type(layer).__name__ == "Dense"]
    modules = list(ours.modules())
    places = [m for m in modules if isinstance(m, nn.Conv2d)]
    heads = [m for m in modules if isinstance(m, nn.Linear)]
    if len(convolutions) > len(places):  # MobileNet's last layer is a 1x1 convolution there
        dense.append(convolutions.pop())
    for layer, module in zip(convolutions, places, strict=True):
        kernel = torch.as_tensor(layer.get_weights()[0])
        axes = (2, 3, 0, 1) if "Depthwise" in type(layer).__name__ else (3, 2, 0, 1)
        module.weight.data = kernel.permute(axes).contiguous()
        if module.bias is not None:
            module.bias.data = torch.as_tensor(layer.get_weights()[1])
    for layer, module in zip(norms, [m for m in modules if isinstance(m, nn.BatchNorm2d)], strict=True):
        layer.set_weights([stirred_like(variable.name, variable.shape) for variable in layer.weights])
        found = {v.name: torch.as_tensor(value) for v, value in zip(layer.weights, layer.get_weights(), strict=True)}
        module.weight.data = found.get("gamma", torch.ones_like(module.weight))
        module.bias.data, module.eps = found["beta"], layer.epsilon
        module.running_mean, module.running_var = found["moving_mean"], found["moving_variance"]
    for layer, module in zip(dense, heads, strict=True):
        kernel, bias = map(torch.as_tensor, layer.get_weights())
        if kernel.shape[0] == 7 * 7 * 512:  # VGG: Keras flattens maps with the channels last
            kernel = kernel.reshape(7, 7, 512, -1).permute(2, 0, 1, 3)
        module.weight.data, module.bias.data = kernel.reshape(-1, kernel.shape[-1]).T.contiguous(), bias


def place(layer: Any) -> tuple[int, ...]:
    """Where a layer stands in our definition: shortcuts behind the block (ResNet), layers without names as numbered."""
    if found := re.match(r"conv(\d)_block(\d+)_(\d)_(conv|bn)$", layer.name):
        stage, block, part, _ = found.groups()
        return int(stage), int(block), int(part) or 9
    if found := re.match(r"(?:conv2d|batch_normalization)(?:_(\d+))?$", layer.name):
        return (2, int(found[1] or 0))
    return (9,) if layer.name == "predictions" else (0,)


def stirred_like(name: str, shape: tuple[int, ...]) -> Any:
    """Random values for a variable of a batch norm."""
    low, high = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 2)}.get(name, (-0.1, 0.1))
    return torch.empty(tuple(shape)).uniform_(low, high).numpy()


def pairs(chosen: list[str]) -> Iterator[tuple[str, str, str, Callable[[], float]]]:
    """Network, peer, its name there, and the comparison."""
    declare_torchvision_operators()
    import timm
    import torchvision

    def wanted(name: str) -> bool:
        return not chosen or name.partition(":")[0] in chosen

    for name, (there, options) in TORCHVISION.items():
        if wanted(name):
            yield (
                name,
                "torchvision",
                there,
                lambda n=name, t=there, o=options: against_torch(n, getattr(torchvision.models, t)(weights=None, **o)),
            )
    for name, (there, options) in TIMM.items():
        if wanted(name):
            yield name, "timm", there, lambda n=name, t=there, o=options: against_torch(n, timm.create_model(t, **o))
    for name, there in KERAS.items():
        if wanted(name):
            yield name, "keras", there, lambda n=name, t=there: against_keras(n, t)


@torch.no_grad()
def main() -> None:
    """Compare and write."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    rows = []
    for name, peer, there, compare in pairs(sys.argv[1:]):
        error = compare()
        rows.append({"network": name, "peer": peer, "there": there, "difference": error, "equal": error <= LIMIT})
        print(f"{name:28} {peer:12} {there:20} {error:.1e}", flush=True)
    if not sys.argv[1:]:
        write("zoo_parity", {"limit": LIMIT, "pairs": rows}, versions=("torchvision", "timm", "keras"))


if __name__ == "__main__":
    main()
