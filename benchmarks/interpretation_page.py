"""Tables of what striate.interpret takes, beside captum: docs/interpretation.md, docs/units.md, rows of the README."""

from __future__ import annotations

from typing import Any

from measure import foot, read, span

HEAD = ("| what | striate | beside | factor |", "|---|---|---|---|")


def patch_rows() -> list[str]:
    """The nine best places of each channel in 64 pictures, and what of each excites it."""
    rows = []
    for name, one in read("top_patches").get("rows", {}).items():
        what = f"top-9 patches of VGG-16's {name}, {one['projections']:,} projected back, seconds"
        for peer, factor in one["times_faster"].items():
            ours, theirs = (one["seconds"][side]["median"] for side in ("striate", peer))
            rows.append(f"| {what} | {ours:.1f} | {peer}: {theirs:,.0f} | {span(factor)}× |")
    return rows


def patches_table() -> str:
    """docs/units.md's table."""
    return "\n".join([*HEAD, *patch_rows(), "", foot(read("top_patches"))])


ATTRIBUTIONS = {
    "integrated_gradients_resnet18": "integrated gradients, 50 steps, ResNet-18",
    "integrated_gradients_vgg16": "integrated gradients, 50 steps, VGG-16",
    "gradient_resnet50": "gradients of 16 images, ResNet-50",
    "smooth_grad_resnet18": "SmoothGrad, 50 samples, ResNet-18",
    "guided_backpropagation_vgg16": "guided backpropagation of 8 images, VGG-16",
    "deconvnet_vgg16": "DeconvNet of 8 images, VGG-16",
    "deep_lift_vgg16": "DeepLIFT of 4 images, VGG-16",
    "deep_lift_basset": "DeepLIFT of 64 sequences, Basset",
}


def attributions() -> list[tuple[str, dict[str, Any]]]:
    """What was explained, and how long it took."""
    found, cams = read("attribution").get("rows", {}), read("cam").get("rows", {})
    known = [(what, found.get(name, {})) for name, what in ATTRIBUTIONS.items()]
    return known + [(f"Grad-CAM, {name}, {one['images']} images", one) for name, one in cams.items()]


def attribution_rows() -> list[str]:
    rows = []
    for what, one in attributions():
        for peer, factor in one.get("times_faster", {}).items():
            ours, theirs = (one["seconds"][side]["median"] for side in ("striate", peer))
            rows.append(f"| {what}, seconds | {ours:.2f} | {peer}: {theirs:.2f} | {span(factor, '{:.2f}')}× |")
    return rows


def interpretation_table() -> str:
    """docs/interpretation.md's tables: captum's seconds, and what it makes of activations written in several ways."""
    found = read("attribution")
    parts = [*HEAD, *attribution_rows(), "", foot(found)]
    if ways := found.get("rows", {}).get("written", {}).get("ways"):
        methods = list(next(iter(ways.values())))
        names = [name.replace("_", " ").replace("deep lift", "DeepLIFT") for name in methods]
        parts += ["", f"| activation | captum's {' | '.join(names)} |", "|---|" + "---|" * len(methods)]
        parts += [f"| {way} | {' | '.join(by[method] for method in methods)} |" for way, by in ways.items()]
        parts += ["", "striate's three are right in every row, which the benchmark asserts."]
    for what, one in attributions():
        gaps = one.get("gap", {})
        if gaps.get("captum", 0.0) > 0.01 > gaps["striate"]:
            parts += [
                "",
                f"{what}: captum's shares miss the difference of the outputs by {gaps['captum']:.0%} of the greatest "
                f"one (its rule for `MaxPool1d`), ours by {gaps['striate']:.0e}.",
            ]
    return "\n".join(parts)
