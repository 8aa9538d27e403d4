"""Orders that a message about surfaces gives: a command in PyMOL, an option of dsr-backend, a cell of a manifest."""

from __future__ import annotations


class Remedies:
    """Orders to type in PyMOL."""

    def setting(self, key: str, value: str, object: str) -> str:
        """Set a setting of PyMOL for an object."""
        return f"'set {key}, {value}, {object}'"

    def narrowed(self, selection: str, kind: str) -> str:
        """Take only atoms of a kind out of the selection."""
        return f"add 'and {kind}' to the selection"

    def states(self, text: str) -> str:
        """Take other states."""
        return f"give states={text}"

    def trajectory(self) -> str:
        """Load the states of an object."""
        return "load a trajectory into it"

    def unwrap(self, object: str, *, by_pymol: bool) -> str:
        """Make molecules whole that the periodic box cuts. by_pymol: whether PyMOL's own command can."""
        return "give unwrap=1" + (f", or type 'pbc_unwrap {object}, bymol=0' first" if by_pymol else "")

    def cell(self, object: str) -> str:
        """Give an object its unit cell."""
        return f"type 'set_symmetry {object}, a, b, c, 90, 90, 90' with the edges of its box in A"


class WithoutUnwrap(Remedies):
    """Orders to type in PyMOL for commands that have no unwrap=."""

    def unwrap(self, object: str, *, by_pymol: bool) -> str:
        """Make molecules whole that the periodic box cuts."""
        by_pbc_unwrap = f", or by PyMOL's 'pbc_unwrap {object}, bymol=0'" if by_pymol else ""
        return f"make its molecules whole, as by 'gmx trjconv -pbc whole'{by_pbc_unwrap}"

    def cell(self, object: str) -> str:
        """Load an object with its unit cell."""
        return "see that its file has the unit cell"


class CommandLineRemedies(Remedies):
    """Options of dsr-backend."""

    def setting(self, key: str, value: str, object: str) -> str:
        """Set a setting of PyMOL."""
        return f"'--set {key}={value}'"

    def narrowed(self, selection: str, kind: str) -> str:
        """Take only atoms of a kind out of the selection."""
        return f"""give '--selection "{kind if selection == "all" else f"({selection}) and {kind}"}"'"""

    def states(self, text: str) -> str:
        """Take other states."""
        return f"give '--states {text}'"

    def trajectory(self) -> str:
        """Give the states of a topology."""
        return "give its trajectory after it"

    def unwrap(self, object: str, *, by_pymol: bool) -> str:
        """Make molecules whole that the periodic box cuts."""
        return "give --unwrap"

    def cell(self, object: str) -> str:
        """Give a structure with its unit cell."""
        return "give a structure with its unit cell (CRYST1 in a .pdb, the last line of a .gro)"


class ManifestRemedies(CommandLineRemedies):
    """Cells of a trajectory's line in the manifest of a batch."""

    def setting(self, key: str, value: str, object: str) -> str:
        """Set a setting of PyMOL, which no column does."""
        return f"an input made by 'dsr-backend surfaces' with '--set {key}={value}'"

    def narrowed(self, selection: str, kind: str) -> str:
        """Take only atoms of a kind out of the selection."""
        return f"write '{kind if selection == 'all' else f'({selection}) and {kind}'}' in the column selection"

    def states(self, text: str) -> str:
        """Take other states."""
        return f"write '{text}' in the column states"

    def trajectory(self) -> str:
        """Give the states of a topology."""
        return "write its trajectory in the column trajectory"

    def unwrap(self, object: str, *, by_pymol: bool) -> str:
        """Make molecules whole that the periodic box cuts."""
        return "write 1 in the column unwrap"


IN_PYMOL = Remedies()
WITHOUT_UNWRAP = WithoutUnwrap()
FOR_TERMINALS = {"options": CommandLineRemedies(), "manifest": ManifestRemedies()}
"""Orders for who has no PyMOL at hand, by the words of `python -m pymol_dsr --remedies`."""
