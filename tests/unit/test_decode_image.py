"""Every reader of a picture must see the same pixels, or scores of the same model differ from reader to reader."""

import io

import numpy as np
import pytest
from PIL import Image

from boxcar.inference import graph


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_tensorflow_sees_the_pixels_that_pillow_sees(form: str) -> None:
    rough = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(rough).resize((333, 217), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, form)
    expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    np.testing.assert_array_equal(graph.decode_image(file.getvalue()).numpy(), expected)
