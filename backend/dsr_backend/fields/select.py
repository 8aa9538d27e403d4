"""Selection of a member of a family, or of a field between two members.

The module imports torch only when a field is built, so that the command line can start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Family, Field


def select_field(fitted: Field | Family, trajectory: Any, towards: Any, share: Any) -> Field:
    """Return the field of one trajectory of a family, or the field at fraction `share` of the way `towards` another.

    A single fit takes None for all three. Raises ValueError for values that do not go together or with the fit.
    """
    # torch takes seconds to import.
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
    return field_between(fitted, str(trajectory), str(towards), share)


def field_between(family: Family, first: str, second: str, fraction: float) -> Field:
    """Return the field at a fraction (0 to 1) of the way from trajectory `first` to `second` of a family.

    Its times are those of the first; the second is taken at the same fraction of its own range. Raises ValueError for
    a fraction outside 0 to 1, for an unknown name, and for trajectories that were not fitted together.
    """
    # torch takes seconds to import.
    from .fast import FastField
    from .morph import Morph
    from .paper import PaperField, interpolate_fields

    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"share {fraction!r} must lie between 0 ({first}) and 1 ({second})")
    start, end = family.member(first), family.member(second)
    if isinstance(start, PaperField):
        return interpolate_fields(start, end, fraction)
    if isinstance(start, FastField) and isinstance(end, FastField) and start.decoder is end.decoder:
        return Morph(start, end, fraction)
    raise ValueError("these two trajectories were not fitted together: fit them as one family")
