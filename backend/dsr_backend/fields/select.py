"""Selects a member of a family, or a field between two members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Family, Field


def pick(fitted: Field | Family, trajectory: Any, towards: Any, share: Any) -> Field:
    """The field of one trajectory of a family, or the one `share` of the way from it `towards` another.

    A single fit takes None for all three. Raises ValueError for what can't be.
    """
    from .base import Family

    if not isinstance(fitted, Family):
        if (trajectory, towards, share) != (None, None, None):
            raise ValueError("this fit is of one trajectory: leave trajectory, towards and share out")
        return fitted
    if trajectory is None:
        raise ValueError(f"this fit is a family: name a trajectory, one of {', '.join(fitted.members)}")
    if (towards is None) != (share is None):
        raise ValueError(
            f"towards and share go together, from {trajectory} (0) to another trajectory (1); "
            f"got towards {towards!r}, share {share!r}"
        )
    if towards is None:
        return fitted.member(str(trajectory))
    if isinstance(share, bool) or not isinstance(share, (int, float)):
        raise ValueError(f"share {share!r} must be a number from 0 ({trajectory}) to 1 ({towards})")
    return fitted.between(str(trajectory), str(towards), share)
