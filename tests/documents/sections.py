"""What a section of a document says to write and to run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`((?:src|conf)/[\w/]+\.(?:py|yaml))`[^`]*\Z")  # the last code before the block
COMMENT = re.compile(r"\s{2,}#.*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Args:
        language: `python`, `yaml`; empty for commands.
        path: of the file that the text before the block names; None if it names none.
        text: what the block has.
    """

    language: str
    path: str | None
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines without their comments."""
        lines = (COMMENT.sub("", line) for line in self.text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def sections(document: Path) -> dict[str, list[Block]]:
    """Return the blocks below each heading of the second level; what comes before the first counts to ``."""
    parts = re.split(r"^## (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: blocks(text) for title, text in zip(["", *parts[1::2]], parts[::2], strict=True)}


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a text in their order."""
    result, end = [], 0
    for match in BLOCK.finditer(text):
        file = FILE.search(text[end : match.start()].rstrip())
        result.append(Block(match["language"], file[1] if file else None, match["text"]))
        end = match.end()
    return result
