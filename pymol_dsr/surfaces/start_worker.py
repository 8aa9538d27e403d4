"""Starts a surface worker; workers.py runs it as a script.

Where PyMOL's plugin manager has imported the package, it has another name, and its `__init__` registers commands. So
this script enters the package's folder under a name of its own and does not run that `__init__`.
"""

import importlib
import os
import sys
import types

if __name__ == "__main__":
    # The script's own folder must not stand in for anyone's modules.
    sys.path.pop(0)
    # PyMOL and its file readers print to fd 1; only frames may go down the pipe.
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    package = types.ModuleType("dsr_plugin")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    sys.modules[package.__name__] = package
    sys.exit(importlib.import_module("dsr_plugin.surfaces.surface_worker").run(requests, replies))
