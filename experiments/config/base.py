"""What every section of an experiment file has in common."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from moprune.errors import not_one_of

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def known(what: str, value: str, accepted: Iterable[str]) -> str:
    """Returns the value, or raises a UsageError (a ValueError, as pydantic wants it) that names what is accepted."""
    if value not in (names := list(accepted)):
        raise not_one_of(what, value, names)
    return value


class Section(BaseModel):
    """A group of keys: none unknown, none changed afterwards."""

    # Class names are often numbers; YAML would make them integers.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
