"""What a pass without numbers would hold in memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from striate.geometry.shapes import like
from striate.locality.scan.crops import Crops
from striate.locality.scan.frames import Framed


class Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operations on meta tensors and counts the bytes of what they make, as long as someone holds it; views of
    the `weights` take none."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped by torch.compile's machinery, whose import takes longer than a scan."""
        return False

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # storage -> tensors that show it
        self.held: dict[int, int] = {tensor.untyped_storage()._cdata: 1 for tensor in weights}
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, Crops | Framed) for kind in types):
            return NotImplemented
        args, kwargs = tree_map_only(Tensor, _meta, (args, kwargs or {}))
        out = func(*args, **kwargs)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return out

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.held:
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
        self.held[key] = self.held.get(key, 0) + 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self.held[key] -= 1
        if not self.held[key]:
            del self.held[key]
            self.bytes -= size


def _meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else like(tensor)
