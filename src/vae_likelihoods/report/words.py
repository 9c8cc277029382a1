"""Numbers and names as a sentence has them; names stand in backticks."""

from __future__ import annotations

from collections.abc import Sequence

from vae_likelihoods.report.resampling import Interval

_PM = "\u00a0±\u00a0"  # no line break around it


def amount(value: float, error: float | None, decimals: int) -> str:
    """Return a value and its standard error, if that is known."""
    return f"{value:.{decimals}f}" + ("" if error is None else f"{_PM}{error:.{decimals}f}")


def signed(value: float, decimals: int) -> str:
    """Return a difference with its sign; one that is printed as 0 has a plus.

    Example:
        >>> signed(-0.5, 3), signed(-1e-9, 3)
        ('-0.500', '+0.000')
    """
    return f"{value:+z.{decimals}f}"


def within(interval: Interval | None, decimals: int) -> str:
    """Return an interval in brackets; an end that is not 0 is never printed as 0.

    Example:
        >>> within(None, 3)
        '[too few images]'
        >>> within(Interval(-0.0412, 0.0123), 3), within(Interval(0.00004, 0.0123), 3)
        ('[-0.041, 0.012]', '[0.00004, 0.012]')
    """
    if interval is None:
        return "[too few images]"
    return f"[{_end(interval.low, decimals)}, {_end(interval.high, decimals)}]"


def _end(value: float, decimals: int) -> str:
    needed = (places for places in range(decimals, 16) if value == 0 or float(f"{value:.{places}f}") != 0)
    return f"{value:.{next(needed, decimals)}f}"


def percent(share: float) -> str:
    """Return a share as a whole percentage; only all is printed as 100, and only nothing as 0.

    Example:
        >>> [percent(share).replace("\u00a0", " ") for share in (0.0, 0.0004, 0.634, 0.9996, 1.0)]
        ['0 %', 'under 1 %', '63 %', 'over 99 %', '100 %']
    """
    if 0 < share < 0.005:
        return "under\u00a01\u00a0%"
    if 0.995 <= share < 1:
        return "over\u00a099\u00a0%"
    return f"{100 * share:.0f}\u00a0%"


def latents(size: int) -> str:
    """Return a latent size in words.

    Example:
        >>> latents(0), latents(1), latents(8)
        ('no latents', '1 latent', '8 latents')
    """
    return "1 latent" if size == 1 else f"{size or 'no'} latents"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, by default with the plural in s.

    Example:
        >>> counted(1, "study", "studies"), counted(24, "cell")
        ('1 study', '24 cells')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def listed(parts: Sequence[str]) -> str:
    """Return parts as a list in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def shortened(parts: Sequence[str], most: int = 2) -> str:
    """Return parts as a list in a sentence, of which only the first ones are named.

    Example:
        >>> shortened(["a", "b"]), shortened(["a", "b", "c", "d"])
        ('a, b', 'a, b and 2 others')
    """
    more = len(parts) - most
    if more <= 0:
        return ", ".join(parts)
    return f"{', '.join(parts[:most])} and {more} other{'s' if more > 1 else ''}"
