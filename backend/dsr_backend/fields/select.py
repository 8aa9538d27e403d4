"""Selection of a member of a family, or of a field between two members.

The module imports torch only when a field is built, so that the command line can start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymol_dsr.shared.messages import molecule_sources
from pymol_dsr.shared.options import FieldOptions
from pymol_dsr.shared.values import JsonObject

if TYPE_CHECKING:
    from .base import Family, Field


def select_field(fitted: Field | Family, options: FieldOptions) -> Field:
    """Return the field of one trajectory of a family, or the one between two.

    A single fit takes no names. Raises ValueError for options that do not go with the fit.
    """
    # torch takes seconds to import.
    from .base import Family

    if not isinstance(fitted, Family):
        if options.trajectory or options.towards:
            raise ValueError("this fit is of one trajectory: leave trajectory, towards and share out")
        return fitted
    if not options.trajectory:
        raise ValueError(f"this fit is a family: name a trajectory, one of {', '.join(fitted.members)}")
    if options.share is None:
        return fitted.member(options.trajectory)
    return field_between(fitted, options.trajectory, options.towards, options.share)


def provenance_of(fitted: Field | Family, trajectory: str) -> JsonObject | None:
    """Return the origin of the states of a trajectory, where some were generated; None for true ones.

    trajectory: its name, empty for a single one. Raises ValueFault where the file does not say it in its own form.
    """
    # torch takes seconds to import.
    from .base import Family

    names = tuple(fitted.members) if isinstance(fitted, Family) else ()
    molecule = molecule_sources(fitted.report.get("source") or {}, names).get(trajectory if names else "")
    return None if molecule is None else molecule.provenance


def field_between(family: Family, first: str, second: str, fraction: float) -> Field:
    """Return the field at a fraction (0 to 1) of the way from trajectory `first` to `second` of a family.

    Its times are those of the first; the second is taken at the same fraction of its own range. Raises ValueError for
    an unknown name, and for trajectories that were not fitted together.
    """
    # torch takes seconds to import.
    from .fast import FastField
    from .morph import Morph
    from .paper import PaperField, interpolate_fields

    start, end = family.member(first), family.member(second)
    if isinstance(start, PaperField):
        return interpolate_fields(start, end, fraction)
    if isinstance(start, FastField) and isinstance(end, FastField):
        return Morph(start, end, fraction)
    raise ValueError("these two trajectories were not fitted together: fit them as one family")
