from __future__ import annotations

import pytest
import torch

from striate.errors import InputError
from striate.train import find_device


def test_devices_by_name() -> None:
    assert find_device("cpu") == find_device("cpu:0") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda", "mps", "xpu")


@pytest.mark.parametrize("name", ["meta", "gpu", "", "cuda:999", "cuda:-1", "hpu", "vulkan"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(InputError, match=rf"^no such device: {name}: .* Use --device cpu or auto\.$"):
        find_device(name)
    with pytest.raises(InputError, match=r"^no such device: meta: expected auto, cpu, cuda, mps, xpu\. Use"):
        find_device("meta")
