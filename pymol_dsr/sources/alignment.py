"""Pairs of residues by PyMOL's own alignments of two chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pymol import CmdException

from .atoms import MoleculeStates
from .matching import ALIKE, ResiduePair
from .residues import Residue

_CHAINS = ("_dsr_chain_a", "_dsr_chain_b")
_ALIGNMENT = "_dsr_alignment"


class PymolAlignment:
    """Aligns chains of objects in the scene by sequence (`align`), or by structure (`super`) where they are unlike."""

    def __init__(self, _self: Any) -> None:
        self._self = _self
        self.by_structure = False
        """Whether any pair of chains was aligned by structure."""

    def __call__(
        self,
        first: MoleculeStates,
        residues: Sequence[Residue],
        second: MoleculeStates,
        others: Sequence[Residue],
    ) -> list[ResiduePair]:
        """Return pairs of residues of two chains; none where PyMOL can't align them."""
        pairs = self._aligned(self._self.align, first, residues, second, others)
        equal_names = sum(residue.name == partner.name for residue, partner in pairs)
        if equal_names < ALIKE * min(len(residues), len(others)):
            by_structure = self._aligned(self._self.super, first, residues, second, others)
            if len(by_structure) > len(pairs) or equal_names < ALIKE * len(pairs):
                self.by_structure = True
                return by_structure
        return pairs

    def _aligned(
        self,
        command: Callable[..., Any],
        first: MoleculeStates,
        residues: Sequence[Residue],
        second: MoleculeStates,
        others: Sequence[Residue],
    ) -> list[ResiduePair]:
        cmd = self._self
        before = set(cmd.get_names("all"))
        owners = ({}, {})  # type: tuple[dict[int, Residue], dict[int, Residue]]
        for name, molecule, chain, owner in zip(_CHAINS, (first, second), (residues, others), owners, strict=True):
            for residue in chain:
                owner.update((int(molecule.indices[index]) + 1, residue) for index in residue.atoms.values())
            cmd.select_list(name, molecule.object, list(owner), mode="index")
        try:
            command(
                _CHAINS[1],
                _CHAINS[0],
                cycles=0,
                transform=0,
                object=_ALIGNMENT,
                mobile_state=second.states[0],
                target_state=first.states[0],
                quiet=1,
            )
            columns = cmd.get_raw_alignment(_ALIGNMENT)
        except CmdException:
            # PyMOL says so of chains that have too little in common.
            return []
        finally:
            for name in set(cmd.get_names("all")) - before:
                cmd.delete(name)
        return _residue_pairs(columns, first, second, owners)


def _residue_pairs(
    columns: Sequence[Sequence[tuple[str, int]]],
    first: MoleculeStates,
    second: MoleculeStates,
    owners: tuple[dict[int, Residue], dict[int, Residue]],
) -> list[ResiduePair]:
    """Return each residue of the first chain with the one that most of its atoms are aligned with."""
    votes: dict[int, dict[int, int]] = {}
    by_id: dict[int, Residue] = {}
    for column in columns:
        # Both may be of one object.
        residue = next(
            (owners[0][index] for name, index in column if name == first.object and index in owners[0]), None
        )
        partner = next(
            (owners[1][index] for name, index in reversed(column) if name == second.object and index in owners[1]), None
        )
        if residue is not None and partner is not None:
            by_id.update({id(residue): residue, id(partner): partner})
            counted = votes.setdefault(id(residue), {})
            counted[id(partner)] = counted.get(id(partner), 0) + 1
    return [(by_id[key], by_id[max(counted, key=lambda k: counted[k])]) for key, counted in votes.items()]
