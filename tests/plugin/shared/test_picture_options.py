"""Sizes of pictures: by a name, by width and height, or by one of them and the shape of the view."""

from __future__ import annotations

import pytest

from pymol_dsr.shared.picture_options import FilmOptions, PictureOptions
from pymol_dsr.shared.values import ValueFault

VIEW = (640, 480)


@pytest.mark.parametrize(
    ("words", "pixels"),
    [
        ({}, VIEW),
        ({"size": "720p"}, (1280, 720)),
        ({"width": "91", "height": 61}, (91, 61)),
        ({"width": 160}, (160, 120)),
        ({"height": 90}, (120, 90)),
    ],
)
def test_one_side_follows_the_view(words, pixels):
    assert PictureOptions.parse(**words).pixels(VIEW) == pixels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size": "4K", "width": 100}, "size 4K: it is width and height already; leave one of them out"),
        ({"size": "8K"}, "size 8K: choose one of nothing, 720p, 1080p, 4K"),
        ({"width": 40000}, "width 40000: it must lie between 16 and 10000 pixels"),
        ({"height": 10001}, "height 10001: it must lie between 16 and 10000 pixels"),
        ({"fps": 10, "seconds": 2}, "seconds 2: it sets the frames per second; leave fps= out"),
        ({"supersampling": 5}, "supersampling 5: it must lie between 1 and 4"),
    ],
)
def test_sizes_and_rates_are_given_once(words, message):
    with pytest.raises(ValueFault) as error:
        FilmOptions.parse(**words)
    assert str(error.value) == message
