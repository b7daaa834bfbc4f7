"""The picture of the packages shows the imports that the code has."""

from __future__ import annotations

from tools.architecture import PICTURE, as_svg, imports, reduced


def test_the_picture_is_drawn_from_the_code() -> None:
    assert PICTURE.read_text() == as_svg(), "run `python -m tools.architecture`"


def test_arrows_that_follow_from_others_are_left_out() -> None:
    assert reduced({"cli": {"services", "ports"}, "services": {"ports"}}) == [
        ("cli", "services"),
        ("services", "ports"),
    ]


def test_every_import_of_a_package_is_an_arrow_or_follows_from_arrows() -> None:
    arrows = reduced(found := imports())

    def shown(source: str) -> set[str]:
        return {name for at, to in arrows if at == source for name in (to, *shown(to))}

    assert {source: targets - shown(source) for source, targets in found.items() if targets - shown(source)} == {}
