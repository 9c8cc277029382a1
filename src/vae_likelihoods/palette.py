"""One colour and one shape for each likelihood, the same in every chart, in light and in dark.

Colours follow Okabe and Ito (Color Universal Design, 2008), adjusted so that each has a contrast of 3:1 or
more to both backgrounds. Charts refer to them as CSS variables, so a page changes them without redrawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LIGHT = (
    "#0072b2",
    "#d55e00",
    "#008a64",
    "#b8578f",
    "#9a7200",
    "#2f93cc",
    "#4a4a4a",
    "#8a5a3c",
    "#6a51a3",
    "#3f8583",
)
_DARK = (
    "#4da3e0",
    "#ff8a4c",
    "#2cc79b",
    "#e08abf",
    "#e6b422",
    "#9bd3f5",
    "#e0e0e0",
    "#c49a78",
    "#a793e0",
    "#7fc7c4",
)
_PAPER = {"ink": "#1c2126", "muted": "#5a646e", "grid": "#e4e7ea", "paper": "#ffffff", "panel": "#f6f7f8"}
_NIGHT = {"ink": "#e8eaed", "muted": "#a4adb6", "grid": "#2e353c", "paper": "#14181c", "panel": "#1c2126"}

SCHEMES: dict[str, dict[str, str]] = {
    "light": _PAPER | {f"hue-{i}": colour for i, colour in enumerate(_LIGHT)},
    "dark": _NIGHT | {f"hue-{i}": colour for i, colour in enumerate(_DARK)},
}
"""Scheme -> name of the CSS variable (without --) -> colour."""

SHAPES = {
    "circle": "M8 3a5 5 0 1 1 0 10a5 5 0 1 1 0-10z",
    "square": "M3.5 3.5h9v9h-9z",
    "triangle-up": "M8 2.5l5.5 10h-11z",
    "diamond": "M8 1.5l5 6.5l-5 6.5l-5-6.5z",
    "triangle-down": "M8 13.5l5.5-10h-11z",
    "cross": "M6 2.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5z",
    "triangle-right": "M13.5 8l-10 5.5v-11z",
    "triangle-left": "M2.5 8l10 5.5v-11z",
}
"""Vega's name of a symbol -> an SVG path of it in a box of 16 x 16, for legends outside the charts."""


@dataclass(frozen=True)
class Mark:
    """The look of a likelihood in charts."""

    likelihood: str
    hue: int
    shape: str

    @property
    def colour(self) -> str:
        """A reference that CSS resolves, such as `var(--hue-0)`."""
        return f"var(--hue-{self.hue})"


def marks(likelihoods: Sequence[str]) -> dict[str, Mark]:
    """Return a colour and a shape for each likelihood, in their order; they repeat after 40 pairs."""
    names = list(SHAPES)
    return {
        name: Mark(name, place % len(_LIGHT), names[place % len(names)])
        for place, name in enumerate(dict.fromkeys(likelihoods))
    }


def css(scheme: str) -> str:
    """Return the declarations of the colours of `scheme` ("light" or "dark")."""
    return " ".join(f"--{name}: {colour};" for name, colour in SCHEMES[scheme].items())


def resolve(text: str, scheme: str) -> str:
    """Replace every `var(--name)` in `text` by its colour in `scheme`, for pictures without CSS."""
    for name, colour in SCHEMES[scheme].items():
        text = text.replace(f"var(--{name})", colour)
    return text
