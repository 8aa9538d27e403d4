"""Arguments of the command line as options, whose defaults and ranges stand in `pymol_dsr.shared.options`."""

from __future__ import annotations

import argparse
import re

from pymol_dsr.shared.options import FieldOptions
from pymol_dsr.shared.values import AnOptions, ValueFault


def parse_options(kind: type[AnOptions], arguments: argparse.Namespace, *names: str) -> AnOptions:
    """Parse the arguments of these names as options; those that were not given have the options' defaults.

    Raises ValueError.
    """
    words = {name: getattr(arguments, name) for name in names}
    try:
        return kind.parse(**{name: word for name, word in words.items() if word is not None})
    except ValueFault as fault:
        # The options write their names as PyMOL's commands do: `share=`.
        raise ValueError("--" + re.sub(r"\b([a-z]+)=", r"--\1", str(fault))) from fault


def field_options(arguments: argparse.Namespace) -> FieldOptions:
    """Parse the arguments that choose a field of a family. Raises ValueError."""
    return parse_options(FieldOptions, arguments, "trajectory", "towards", "share")
