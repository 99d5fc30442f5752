"""Receptive fields as published: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional neural networks.

Their table is of the TF-Slim networks, by end point. Where ours are built otherwise, a comment says how.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from striate import describe, zoo

# Network and options: module, field and stride at its end.
FIELDS = {
    "alexnet_owt": "features.2 19/8, features.3 51/8, features.10 163/16, features.12 195/32",
    "vgg11": "features.2 4/2, features.10 30/8, features.20 150/32",
    "vgg16": "features.0 3/1, features.4 6/2, features.9 16/4, features.16 44/8, features.23 100/16, "
    "features.26 164/16, features.30 212/32",
    "inception_v2": "conv1 7/2, conv2 11/4, conv3 19/4, inception3a 59/8, inception3b 91/8, inception3c 123/16, "
    "inception4a 187/16, inception4b 251/16, inception4c 315/16, inception4d 379/16, inception4e 443/32, "
    "inception5a 571/32, inception5b 699/32",
    "inception_v2:separable=False": "conv1 7/2, conv2 11/4, conv3 19/4, inception5b 699/32",
    "inception_v3": "Conv2d_1a_3x3 3/2, Conv2d_2a_3x3 7/2, Conv2d_2b_3x3 11/2, maxpool1 15/4, Conv2d_3b_1x1 15/4, "
    "Conv2d_4a_3x3 23/4, maxpool2 31/8, Mixed_5b 63/8, Mixed_5c 95/8, Mixed_5d 127/8, Mixed_6a 159/16, "
    "Mixed_6b 351/16, Mixed_6c 543/16, Mixed_6d 735/16, Mixed_6e 927/16, Mixed_7a 1055/32, Mixed_7b 1183/32, "
    "Mixed_7c 1311/32",
    "inception_v4": "features.0 3/2, features.1 7/2, features.2 11/2, features.3 15/4, features.4 47/4, "
    "features.5 55/8, features.6 87/8, features.7 119/8, features.8 151/8, features.9 183/8, features.10 215/16, "
    "features.11 407/16, features.12 599/16, features.13 791/16, features.14 983/16, features.15 1175/16, "
    "features.16 1367/16, features.17 1559/16, features.18 1687/32, features.19 1815/32, features.20 1943/32, "
    "features.21 2071/32",
    "inception_resnet_v2": "conv2d_1a 3/2, conv2d_2a 7/2, conv2d_2b 11/2, maxpool_3a 15/4, conv2d_3b 15/4, "
    "conv2d_4a 23/4, maxpool_5a 31/8, mixed_5b 63/8, mixed_6a 415/16, repeat_1 2335/16, mixed_7a 2399/32, "
    "conv2d_7b 3039/32",
    "mobilenet_v1": "features.0 3/2, features.1 7/2, features.2 11/4, features.3 19/4, features.4 27/8, "
    "features.5 43/8, features.6 59/16, features.7 91/16, features.8 123/16, features.9 155/16, features.10 187/16, "
    "features.11 219/16, features.12 251/32, features.13 315/32",
    "mobilenet_v1:width=0.75": "features.6 59/16, features.13 315/32",
    # Theirs stride in the last block of a stage, ours in the first, so that each of our stages has the stride of their
    # stage before it. In the 1x1 convolution, where the paper has it, the fields are equal.
    "resnet50:stride_in_1x1=True": "layer1 35/4, layer2 99/8, layer3 291/16, layer4 483/32",
    "resnet101:stride_in_1x1=True": "layer1 35/4, layer2 99/8, layer3 835/16, layer4 1027/32",
    "resnet152:stride_in_1x1=True": "layer1 35/4, layer2 163/8, layer3 1315/16, layer4 1507/32",
    # In the 3x3 convolution (the default, as in torchvision) the first block of a stage sees at the finer stride:
    # 8 pixels less in layer2, 8 + 16 in layer3, 8 + 16 + 32 in layer4. Not in their table.
    "resnet50": "layer1 35/4, layer2 91/8, layer3 267/16, layer4 427/32",
}


def test_only_networks_of_the_zoo_are_named() -> None:
    missing = {name for name in FIELDS if name.partition(":")[0] not in zoo.ARCHITECTURES}
    assert missing <= {"alexnet_owt", "vgg11", "vgg16"}


@pytest.mark.parametrize("name", [name for name in FIELDS if name.partition(":")[0] in zoo.ARCHITECTURES])
def test_fields_and_strides_at_the_end_of_each_module(name: str) -> None:
    with torch.device("meta"):
        net = zoo.build(name)
    shape = zoo.ARCHITECTURES[name.partition(":")[0]].input
    rows = describe(net, shape).layers
    modules = [entry.split()[0] for entry in FIELDS[name].split(", ")]
    assert ", ".join(f"{module} {at(rows, module)}" for module in modules) == FIELDS[name]


def at(rows: Any, module: str) -> str:
    """Field and stride of the last operation of a module; rows and columns are alike."""
    last = [row for row in rows if f"{row.path}.".startswith(f"{module}.")][-1]
    assert last.exact
    ((field, _), (stride, _)) = last.receptive_field, last.stride
    assert last.receptive_field == (field, field)
    assert last.stride == (stride, stride)
    return f"{field}/{stride}"
