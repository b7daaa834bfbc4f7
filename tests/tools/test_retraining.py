"""The picture of a schedule's night is the one that its script draws, and everything in it is inside its frame."""

from __future__ import annotations

import re

from tools.retraining import ARROWS, PICTURE, STEPS, as_svg


def test_the_picture_is_drawn_by_its_script() -> None:
    assert PICTURE.read_text() == as_svg(), "run `python -m tools.retraining`"


def test_each_step_but_the_last_has_an_arrow_and_all_are_inside_the_frame() -> None:
    assert len(ARROWS) == len(STEPS) - 1
    picture = as_svg()
    frame = re.search(r'viewBox="0 0 (\d+) (\d+)"', picture)
    assert frame
    boxes = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', picture)
    assert len(boxes) > len(STEPS)
    for box in boxes:
        x, y, width, height = map(float, box)
        assert x + width <= float(frame[1])
        assert y + height <= float(frame[2])
