"""Fits by name, between requests: those that wait for their surfaces, those that are fitted, and the state of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pymol_dsr.shared.atomic_write import previous_of
from pymol_dsr.shared.fits_folder import FIT
from pymol_dsr.shared.messages import FitStatus, Open
from pymol_dsr.shared.options import FieldOptions
from pymol_dsr.shared.scratch import ScratchFolder

from ...fields.select import select_field
from ...runtime.errors import RequestError
from ...runtime.folders import fits_folder
from ..replies import callers_fault

if TYPE_CHECKING:
    # Not at run time: this module is there before torch is.
    from ...fields.base import Family, Field
    from ...fitting.preview import Preview
    from ...surfaces.staging import SurfaceStaging


@dataclass
class PendingFit:
    """A fit that waits for its surfaces.

    request: as it was opened. family: the one to start from. preview: shows one time meanwhile. scratch: the folder of
    surfaces that no fit will have, which goes with them.
    """

    request: Open
    surfaces: SurfaceStaging
    family: Family | None
    preview: Preview | None
    scratch: ScratchFolder | None = None

    @property
    def trajectories(self) -> tuple[str, ...]:
        """Names of the trajectories, in the order of `surfaces`; none for a single one."""
        return self.request.trajectories or ()

    def trajectory_number(self, trajectory: str | None, method: str) -> int:
        """Return the place of a trajectory in `surfaces`; None for the single one.

        method: that asks, for the message. Raises RequestError.
        """
        names = self.trajectories
        if names and trajectory not in names:
            raise RequestError(
                "bad-request", f"{method} needs trajectory as one of {', '.join(names)}, got {str(trajectory)[:100]!r}"
            )
        if trajectory is not None and not names:
            raise RequestError(
                "bad-request",
                f"fit {self.request.fit!r} is of one trajectory, not of {trajectory[:100]!r}: leave trajectory out",
            )
        return names.index(str(trajectory)) if names else 0

    def close(self) -> None:
        """Leave the surfaces to whoever resumes the fit."""
        self.surfaces.close()
        if self.scratch is not None:
            self.scratch.close()


class PendingFits:
    """Fits that wait for their surfaces, by name."""

    def __init__(self) -> None:
        self._fits: dict[str, PendingFit] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._fits

    def put(self, name: str, fit: PendingFit) -> None:
        """Enter a fit."""
        self._fits[name] = fit

    def get(self, name: str) -> PendingFit:
        """Return the fit of that name. Raises RequestError."""
        if name not in self._fits:
            raise RequestError("bad-request", f"fit {name!r} is not open: send `open` and its surfaces first")
        return self._fits[name]

    def close(self) -> None:
        """Close all fits; others may resume them."""
        for fit in self._fits.values():
            fit.close()

    def drop(self, name: str) -> None:
        """Close the fit of that name, where there is one."""
        fit = self._fits.pop(name, None)
        if fit is not None:
            fit.close()


class FittedFields:
    """Fitted fields and families by name: in memory, or read from the folder of fits when they are used."""

    def __init__(self) -> None:
        self._fitted: dict[str, Field | Family] = {}
        # The last one between two trajectories, which a movie asks for again and again.
        self._between: tuple[Field | Family, FieldOptions, Field] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._fitted

    def put(self, name: str, fitted: Field | Family) -> None:
        """Keep a fit in memory."""
        self._fitted[name] = fitted

    def drop(self, name: str) -> None:
        """Free the memory of a fit."""
        self._fitted.pop(name, None)
        self._between = None

    def get(self, name: str) -> Field | Family:
        """Return the fit of that name. Raises RequestError `no-fit`."""
        if name not in self._fitted:
            path = fits_folder() / f"{name}{FIT}"
            if not (path.is_file() or previous_of(path).is_file()):
                names = ", ".join(sorted(self._fitted)) or "none"
                raise RequestError(
                    "no-fit",
                    f"there is no fit {name!r}, neither in memory (there: {names}) nor as {path}: "
                    "fit it with dsr_fit, or dsr_load its file",
                )
            # Heavy: it brings torch.
            from ...results import dsr_file

            try:
                self._fitted[name] = dsr_file.load(path)
            except (OSError, ValueError) as exc:
                raise RequestError("no-fit", f"fit {name!r} can't be read from {path}: {exc}; fit it anew") from exc
        return self._fitted[name]

    def field(self, name: str, options: FieldOptions) -> Field:
        """Return the field that a request is about. Raises RequestError."""
        fitted = self.get(name)
        between = self._between
        if between is not None and between[:2] == (fitted, options):
            return between[2]
        with callers_fault():
            field = select_field(fitted, options)
        if options.steady:
            field = field.with_uniform_smoothing()
        if options.towards:
            self._between = (fitted, options, field)
        return field


@dataclass
class State:
    """All fits that a backend knows, by name. Entries of `statuses` are replaced, never changed: the control lane reads
    them at any time.
    """

    fitted: FittedFields = field(default_factory=FittedFields)
    pending: PendingFits = field(default_factory=PendingFits)
    statuses: dict[str, FitStatus] = field(default_factory=dict)
    unkept: dict[str, SurfaceStaging] = field(default_factory=dict)
    """The surfaces of finished fits that could not be written to the folder of fits, by name."""

    def settle(self, name: str) -> None:
        """Set the status of a fit that is not under way any more."""
        if name in self.fitted:
            self.statuses[name] = FitStatus("ready", 1.0)
        else:
            self.statuses.pop(name, None)

    def get(self, name: str) -> Field | Family:
        """Return the fit of that name, and note that it is ready. Raises RequestError `no-fit`."""
        is_loaded = name in self.fitted
        fitted = self.fitted.get(name)
        if not is_loaded:
            self.settle(name)
        return fitted

    def field(self, name: str, options: FieldOptions) -> Field:
        """Return the field that a request is about. Raises RequestError."""
        self.get(name)
        return self.fitted.field(name, options)
