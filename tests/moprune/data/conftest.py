"""Small image folders written with Pillow, every image different."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(number, size=(9, 7), mode="RGB"):
    random = np.random.default_rng(number)
    shape = (size[1], size[0]) + ((3,) if mode == "RGB" else ())
    return Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def image():
    return picture


@pytest.fixture
def image_folder(tmp_path):
    """Returns a function that writes {class or subset/class: count} below a folder, as PNG and JPEG."""

    def write(layout, name="images", first=0) -> Path:
        root = tmp_path / name
        number = first
        for folder, count in layout.items():
            (root / folder).mkdir(parents=True)
            for index in range(count):
                suffix = (".png", ".JPG")[index % 2]
                picture(number).save(root / folder / f"{index:03d}{suffix}")
                number += 1
        return root

    return write
