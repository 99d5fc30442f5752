"""Draw docs/occlusion.png: a network trained on the digits, and what covering a part of one does.

python docs/locality_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import torch

import striate
from striate.interpret import occlusion


def main() -> None:
    recipe = striate.Recipe(model="keras_mnist:width=0.5", data="digits", image_size=28, epochs=6, seed=0)
    session = striate.open_session(recipe)
    for _ in striate.fit(session.model, session.task, session.data, recipe):
        pass
    held = session.data.test
    image, target = session.data.preprocess.normalize(held.inputs[3:4]), int(held.targets[3])
    found = occlusion(session.model.eval(), image, patch=5, stride=1, target=target)
    found.plot().savefig(Path(__file__).with_name("occlusion.png"), dpi=110)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
