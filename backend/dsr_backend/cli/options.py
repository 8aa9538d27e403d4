"""Arguments of the command line as options, whose defaults and ranges stand in `pymol_dsr.shared.options`."""

from __future__ import annotations

import argparse
import re

from pymol_dsr.shared.learn_options import LearnOptions
from pymol_dsr.shared.options import FitOptions
from pymol_dsr.shared.values import AnOptions, ValueFault, fields_of


def parse_options(kind: type[AnOptions], arguments: argparse.Namespace) -> AnOptions:
    """Parse the arguments that have names of these options; what is not given has its default.

    Raises ValueError.
    """
    words = {name: word for name, word in vars(arguments).items() if name in fields_of(kind) and word is not None}
    try:
        return kind.parse(**words)
    except ValueFault as fault:
        # The options write their names as PyMOL's commands do: `share=`.
        raise ValueError("--" + re.sub(r"\b([a-z]+)=", r"--\1", str(fault))) from fault


def on_command_line(text: str) -> str:
    """Return a message with options as they are typed here, `--preset fast` for `preset=fast`."""
    names = {**fields_of(FitOptions), **fields_of(LearnOptions)}
    return re.sub(rf"\b({'|'.join(names)})=", r"--\1 ", text).rstrip()
