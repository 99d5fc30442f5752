"""Multiply-adds and parameters that `striate.describe` finds, against torch's own, on the networks people use.

    python benchmarks/counts.py [NAME ...]

All classification networks of torchvision, and 78 of timm over its families, built on meta tensors. Multiply-adds
against FlopCounterMode on a forward pass in evaluation, attention in its parts (its fused kernel is not counted);
parameters against the sum of `numel`. Every pair goes into results/counts.json, whether equal or not.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import measure
import peers
from striate import describe

TIMM = """
botnet26t_256 caformer_s18 cait_xxs24_224 coatnet_0_rw_224 convmixer_768_32 convnext_tiny convnextv2_nano cs3darknet_m
cspresnet50 davit_tiny deit3_small_patch16_224 densenet121 dla34 dm_nfnet_f0 dpn68 ecaresnet50d edgenext_small
efficientnet_b0 efficientnet_cc_b0_4e efficientvit_b1 efficientvit_m2 ese_vovnet19b_dw fastvit_t8 focalnet_tiny_srf
gcresnet50t gcvit_xtiny gernet_m ghostnetv2_100 ghostnetv3_100 halonet26t hgnetv2_b0 hrnet_w18 inception_resnet_v2
inception_v3 inception_v4 lambda_resnet26t legacy_xception levit_128 mambaout_femto maxvit_tiny_tf_224 mixer_s16_224
mixnet_m mobilenetv3_large_100 mobilenetv4_conv_medium mobilenetv4_hybrid_medium mobilevit_s mobilevitv2_100
nasnetalarge nf_regnet_b1 pit_s_224 pnasnet5large poolformer_s12 pvt_v2_b1 regnety_016 regnetz_c16 repvgg_a2
repvit_m1_0 res2next50 res2net50_26w_4s resnest50d resnet50 resnetblur50 resnetv2_50 resnext50_32x4d rexnet_100
selecsls42b seresnet50 skresnet34 starnet_s1 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 tf_efficientnetv2_s
tresnet_m visformer_small vit_small_patch16_224 wide_resnet50_2 xception41 xcit_tiny_12_p16_224
"""


def networks() -> Iterator[str]:
    """All names, with their library."""
    from torchvision import models

    yield from (f"torchvision:{name}" for name in models.list_models(module=models))
    yield from (f"timm:{name}" for name in TIMM.split())


@contextlib.contextmanager
def regnet_widths_on_cpu() -> Iterator[None]:
    """torchvision's RegNet reads its widths out of tensors, and a meta tensor has no numbers."""
    from torchvision.models.regnet import BlockParams

    original = BlockParams.__dict__["from_init_params"]

    def from_init_params(cls: type, *args: Any, **options: Any) -> Any:
        with torch.device("cpu"):
            return original.__func__(cls, *args, **options)

    BlockParams.from_init_params = classmethod(from_init_params)
    try:
        yield
    finally:
        BlockParams.from_init_params = original


def build(key: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A network without weights, on meta, and its usual input; torchvision's smallest, where weights differ in it."""
    library, _, name = key.partition(":")
    with torch.device("meta"), regnet_widths_on_cpu():
        if library == "timm":
            import timm

            return timm.create_model(name).eval(), tuple(timm.get_pretrained_cfg(name).input_size)
        from torchvision import models

        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        side = min(weights.transforms().crop_size[0] for weights in models.get_model_weights(name))
        return models.get_model(name, weights=None, **options).eval(), (3, side, side)


def reference(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-adds by FlopCounterMode, parameters by their sizes."""
    model.requires_grad_(False)  # It hooks what needs a gradient, and fails where that is a parameter handed on.
    with torch.device("meta"):
        macs = peers.flop_counter_mode(model, torch.empty(1, *shape))
    return macs, sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    """Count and write results/counts.json; with names, only print."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(measure.THREADS)
    torch.backends.mha.set_fastpath_enabled(False)
    peers.declare_torchvision_operators()
    rows, different = {}, {}
    for key in sys.argv[1:] or networks():
        model, shape = build(key)
        report = describe(model, shape)
        ours, theirs = (report.macs, report.parameters), reference(model, shape)
        rows[key] = f"{'x'.join(map(str, shape))}: {theirs[0]:,} multiply-adds, {theirs[1]:,} parameters"
        if ours != theirs:
            different[key] = {"striate": ours, "torch": theirs}
        print(key, rows[key], different.get(key, ""), flush=True)
    print(f"{len(rows)} networks, {len(different)} different")
    if not sys.argv[1:]:
        result = {"networks": len(rows), "different": different, "counted": rows}
        measure.write("counts", result, versions=["timm", "torchvision"])


if __name__ == "__main__":
    main()
