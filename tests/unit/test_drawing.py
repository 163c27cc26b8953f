"""Boxes and captions as they end up in the pixels."""

import numpy as np
import pytest

from boxcar.inference.drawing import FOUND, TRUE, draw

GRAY = np.full((100, 200, 3), 128, np.uint8)


def places(image, colour):
    """(top, left, bottom, right) around all pixels of a colour."""
    rows, columns = np.nonzero((image == colour).all(axis=-1))
    return rows.min(), columns.min(), rows.max(), columns.max()


def test_a_box_is_drawn_where_it_lies_and_the_image_itself_stays():
    drawn = draw(GRAY, np.array([[0.3, 0.25, 0.9, 0.5]], np.float32), [""], TRUE)
    assert (drawn.shape, drawn.dtype) == (GRAY.shape, np.uint8)
    assert places(drawn, TRUE) == (30, 50, 89, 100)
    assert (drawn[35:85, 55:95] == 128).all()  # nothing inside it is covered
    assert (GRAY == 128).all()


def test_boxes_beyond_the_image_are_cut_and_those_without_area_are_seen():
    drawn = draw(GRAY, np.array([[-1, 0.5, 2, 9], [0.2, 0.1, 0.2, 0.1]], np.float32), ["", ""], FOUND)
    assert places(drawn[:, 60:], FOUND) == (0, 40, 99, 139)
    assert places(drawn[:, :60], FOUND)[:2] == (20, 20)


def test_a_small_image_is_enlarged_in_its_proportions():
    drawn = draw(GRAY[:32, :64], np.array([[0, 0, 0.5, 0.5]], np.float32), [""], FOUND, side=320)
    assert drawn.shape == (160, 320, 3)
    assert places(drawn, FOUND) == (0, 0, 80, 160)
    assert draw(GRAY, np.zeros((0, 4), np.float32), [], side=50).shape == (25, 50, 3)


def test_captions_of_boxes_that_cover_one_another_stand_beside_each_other():
    box = [0.4, 0.3, 0.6, 0.7]
    one = draw(GRAY, np.array([box], np.float32), ["square"], side=320)
    two = draw(GRAY, np.array([box, box], np.float32), ["square", "square"], side=320)
    alone, both = ((image == TRUE).all(axis=-1).sum() for image in (one, two))
    without = (draw(GRAY, np.array([box], np.float32), [""], side=320) == TRUE).all(axis=-1).sum()
    assert both - without == pytest.approx(2 * (alone - without), rel=0.1)


def test_a_caption_wider_than_the_image_is_cut():
    drawn = draw(GRAY[:, :60], np.array([[0.4, 0.1, 0.9, 0.9]], np.float32), ["a name without an end to it"])
    top, left, bottom, right = places(drawn[:40], TRUE)
    assert left >= 0 and right <= 59 and bottom - top > 8


def test_every_box_has_its_caption():
    with pytest.raises(ValueError, match="zip"):
        draw(GRAY, np.zeros((2, 4), np.float32), ["one"])
