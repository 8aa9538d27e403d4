"""Arguments of the command line as options, whose defaults and ranges stand in `pymol_dsr.shared.options`."""

from __future__ import annotations

import argparse
import re

from pymol_dsr.shared.values import AnOptions, ValueFault, fields_of


def parse_options(kind: type[AnOptions], arguments: argparse.Namespace) -> AnOptions:
    """Parse the arguments that have names of these options; what is not given has its default.

    Raises ValueError.
    """
    given = {name: word for name, word in vars(arguments).items() if name in fields_of(kind) and word is not None}
    try:
        return kind.parse(**given)
    except ValueFault as fault:
        # The options write their names as PyMOL's commands do: `share=`.
        raise ValueError("--" + re.sub(r"\b([a-z]+)=", r"--\1", str(fault))) from fault
