"""The twenty amino acids by letter."""

NAMES = {
    **{"A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU", "G": "GLY", "H": "HIS"},
    **{"I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "S": "SER", "T": "THR", "W": "TRP"},
    **{"Y": "TYR", "V": "VAL"},
}
"""Residue names by letter."""
LETTERS = {name: letter for letter, name in NAMES.items()}
"""Letters by residue name."""
