"""Draw docs/scales.png: the network of recipes/mnist.yaml, trained on single digits, on a large picture of several.

python docs/scales_picture.py mnist:PATH
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

import striate
from striate.interpret import many_scales
from striate.ops import resize

HERE = Path(__file__).parent
# Side in pixels, and the first corner, of the first test digits: 7, 2, 1, 0, 4.
PLACES = ((28, 10, 12), (40, 60, 20), (56, 90, 90), (80, 20, 140), (28, 120, 30))


def main(data: str) -> None:
    recipe = replace(striate.Recipe.read(HERE.parent / "recipes" / "mnist.yaml"), data=data)
    session = striate.open_session(recipe)
    for _ in striate.fit(session.model, session.task, session.data, recipe):
        pass
    preprocess = session.data.preprocess
    digits = preprocess.units(session.data.test.inputs[: len(PLACES)])
    image = torch.zeros(1, 1, 160, 240)
    for digit, (side, top, left) in zip(digits, PLACES, strict=True):
        image[0, :, top : top + side, left : left + side] = resize(digit[None], (side, side))[0]
    found = many_scales(session.model.eval(), preprocess.standardize(image), stride=2)
    seen = found.find(0.9)
    for sighting in seen:
        print(sighting)
    found.plot(seen, session.data.class_names).savefig(HERE / "scales.png", dpi=110)


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1])
