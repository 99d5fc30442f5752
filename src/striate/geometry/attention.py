"""Attention as the one operation that it is on a CPU or GPU: on meta tensors torch itself takes it apart, with all
pairs of positions in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

# As torch has it, whatever its name in torch.nn.functional stands for.
ORIGINAL = torch._C._nn.scaled_dot_product_attention


@contextlib.contextmanager
def fused() -> Iterator[None]:
    """While it lasts, torch.nn.functional.scaled_dot_product_attention is one operation on meta tensors."""
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """torch's conditions for it: four axes, equal ones, no mask that is trained or yes and no, no dropout."""
    heads = {(x.dim(), *x.shape[:2], x.shape[-1]) for x in (query, key, value)}
    mask = attn_mask is None or not (attn_mask.requires_grad or attn_mask.dtype == torch.bool)
    if query.is_meta and query.dim() == 4 and len(heads) == 1 and mask and not dropout_p:
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return flash(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return ORIGINAL(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
