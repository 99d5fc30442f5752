"""The picture of docs/interpretation.md: one digit, as `striate explain` shows it by eight methods.

python docs/interpretation_pictures.py
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import striate
from striate.runs import conclude, make_folder, record
from striate.runs.explaining import explain_item

METHODS = (
    "occlusion",
    "grad_cam",
    "integrated_gradients",
    "deep_lift",
    "gradient",
    "smooth_grad",
    "guided_backpropagation",
    "deconvnet",
)
OUT = Path(__file__).parent / "interpretation"


def main() -> None:
    """Train on the digits, explain a test item, put the pictures side by side."""
    recipe = striate.Recipe(model="keras_mnist", data="digits", epochs=10, device="cpu")
    session = striate.open_session(recipe)
    with tempfile.TemporaryDirectory() as folder:
        run = make_folder(recipe, Path(folder))
        for _ in record(striate.fit(session.model, session.task, session.data, recipe), run):
            pass
        card = conclude(session, run).card
        items = session.data.tested
        image = items.inputs[3].squeeze().numpy()
        found = explain_item(session.model.eval(), card, Image.fromarray(image), METHODS)
    pictures = []
    for result in found.results:
        buffer = io.BytesIO()
        result.found.plot().savefig(buffer, format="png", dpi=70)
        pictures.append(Image.open(buffer).convert("RGB"))
    width, height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    sheet = Image.new("RGB", (2 * width, (len(pictures) + 1) // 2 * height), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % 2 * width, number // 2 * height))
    OUT.mkdir(exist_ok=True)
    sheet.save(OUT / "methods.png", optimize=True)
    print(found.question, found.answer, np.asarray(sheet).shape)


if __name__ == "__main__":
    main()
