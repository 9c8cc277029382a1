"""Sections of the configuration: records whose fields have types and ranges."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of the configuration; it refuses unknown keys, other types, and values out of range."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())
