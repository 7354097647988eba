"""Durations as people write them in a resource: 90s, 30m, 1h30m."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field

PATTERN = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,7}s)?$"

Duration = Annotated[str, Field(min_length=2, max_length=20, pattern=PATTERN)]
"""Hours, minutes and seconds, in this order, each optional."""


def parse_duration(text: str) -> timedelta:
    """The length of "1h30m"; ValueError for anything that the pattern does not allow."""
    match = re.fullmatch(PATTERN, text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration such as 90s, 30m or 1h30m")
    hours, minutes, seconds = (int(part[:-1]) if part else 0 for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
