"""Frames under atheris, which looks for inputs that reach new code; run by hand where `pip install atheris` works:

python tests/support/fuzz_frames.py -max_total_time=120 -max_len=4096 -timeout=5 -rss_limit_mb=2048
"""

import io
import sys
from pathlib import Path
from typing import cast

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["pymol_dsr.shared.frames"]):
    from pymol_dsr.shared import frames


def read(data: bytes) -> None:
    # Most bytes are no magic: with it, all else is reached at once.
    stream = io.BufferedReader(io.BytesIO(b"DSR1" + data))
    try:
        while frames.read_frame(cast(io.BufferedReader, stream)) is not None:
            pass
    except frames.ProtocolError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
