"""The twenty amino acids by letter, and the names of their protonation states."""

NAMES = {
    **{"A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU", "G": "GLY", "H": "HIS"},
    **{"I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "S": "SER", "T": "THR", "W": "TRP"},
    **{"Y": "TYR", "V": "VAL"},
}
"""Residue names by letter."""
LETTERS = {name: letter for letter, name in NAMES.items()}
"""Letters by residue name."""
PROTONATION_STATES = {
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS"),
    **{"CYX": "CYS", "CYM": "CYS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS"},
}
"""Residue names that force fields give to amino acids by their hydrogens; the names without these."""
