"""Reads and uses forged fits with right digests, and counts the outcomes: python forged_fits.py FOLDER COUNT SEED.

FOLDER holds whole `.dsr` files. Each forged one has one to three changes: a number of the format's table inside of its
range, at its ends or past them, another value in any place of the JSON, or another tensor. A file that is read is
meshed. Prints one JSON object; ends with an error for an outcome that has no name, and for a file that takes more than
its limits.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dsr_backend.fields.base import Family
from dsr_backend.results.dsr_file import CheckpointError, from_bytes
from dsr_backend.results.dsr_format import RANGES
from dsr_backend.results.mesh import extract_mesh
from dsr_backend.runtime.errors import Cancelled

from support.dsr_parts import forged

SECONDS = 5.0
"""Seconds of CPU time for one file; its mesh is cancelled after CANCEL_SECONDS."""
CANCEL_SECONDS = 2.0
BYTES = 2**30
"""More than before the first file."""
RESOLUTION = 2.0
ODD: list[Any] = [
    None, True, "", "x" * 10_000, "../../x", "\x1b[2J", [], {}, [[]], {"a": [1]}, 0, -1, 2**31, 2**63, int("9" * 401),
    0.5, -0.0, 5e-324, 1e300, -1e300, float("nan"), float("inf"), json.loads("[" * 80 + "]" * 80),
]  # fmt: skip
TYPES = (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int64)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand in JSON."""
    paths = [path] if path else []
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        paths += places(child, (*path, key))
    return paths


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def number(draw: random.Random, name: str) -> float:
    """A number for that entry of the table: inside its range, at an end, or past it."""
    least, greatest = RANGES[name]
    kind = draw.randrange(5)
    if kind == 0:
        return draw.choice([least, greatest, 0.0, 1.0])
    if kind == 1:
        return draw.choice([-1.0, 1.0]) * 10 ** draw.uniform(-12, 300)
    low, high = max(1e-12, abs(least), 1e-9 * abs(greatest)), max(1e-11, abs(greatest))
    sign = -1.0 if least < 0 and draw.random() < 0.5 else 1.0
    inside = sign * math.exp(draw.uniform(math.log(low), math.log(max(low * 1.01, high))))
    return float(round(inside)) if kind == 2 else min(max(inside, least), greatest)


def change_number(draw: random.Random, tensors: dict[str, Any], description: Any) -> None:
    """Another number of the table, in the JSON or in a tensor."""
    name = draw.choice(sorted(RANGES))
    value: Any = number(draw, name)
    if isinstance(RANGES[name][0], int) and math.isfinite(value) and draw.random() < 0.9:
        value = int(value)
    keys = [key for key in tensors if key.endswith(name) and tensors[key].is_floating_point() and tensors[key].numel()]
    if keys:
        key = draw.choice(keys)
        tensors[key] = tensors[key].clone()
        flat = tensors[key].view(-1)
        flat[draw.randrange(len(flat))] = value
        return
    pattern = name.split(".")
    fitting = [
        path
        for path in places(description)
        if [key for key in path if isinstance(key, str)][-len(pattern) :] == pattern
    ]
    if fitting:
        put(description, draw.choice(fitting), value)


def change_json(draw: random.Random, tensors: dict[str, Any], description: Any) -> None:
    """Any value in any place of the JSON."""
    paths = places(description)
    if paths:
        put(description, draw.choice(paths), draw.choice(ODD))


def change_tensor(draw: random.Random, tensors: dict[str, Any], description: Any) -> None:
    """A tensor that is missing, of another type or shape, of other values, or that of another name."""
    name = draw.choice(sorted(tensors))
    tensor = tensors[name]
    kind = draw.randrange(6)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name] = tensor.to(draw.choice(TYPES))
    elif kind == 2:
        tensors[name] = tensor.reshape(-1)[: draw.randrange(tensor.numel() + 1)]
    elif kind == 3:
        tensors[draw.choice(sorted(tensors))] = tensor.clone()
    elif kind == 4 and tensor.is_floating_point():
        tensors[name] = tensor * draw.choice([0.0, -1.0, 1e3, 1e30, float("nan")])
    else:
        flat = tensor.clone().reshape(-1)
        for _ in range(min(8, flat.numel())):
            flat[draw.randrange(flat.numel())] = draw.randrange(256)
        tensors[name] = flat.reshape(tensor.shape)


CHANGES: list[Callable[[random.Random, dict[str, Any], Any], None]] = [
    change_number,
    change_number,
    change_json,
    change_tensor,
]


def forge(draw: random.Random, content: bytes) -> bytes:
    def change(tensors: dict[str, Any], description: Any) -> None:
        for _ in range(draw.randint(1, 3)):
            if tensors:
                draw.choice(CHANGES)(draw, tensors, description)

    return forged(content, change)


def outcome(data: bytes) -> str:
    """Return the fate of a file in words. Raises errors that have no name."""
    try:
        fitted = from_bytes(data, "cpu")
    except CheckpointError as error:
        assert str(error), "a refusal says why"
        return "refused with its fault"
    field = next(iter(fitted.members.values())) if isinstance(fitted, Family) else fitted
    start = time.process_time()
    try:
        extract_mesh(
            field, float(field.states[0]), resolution=RESOLUTION,
            cancelled=lambda: time.process_time() - start > CANCEL_SECONDS,
        )  # fmt: skip
    except ValueError:
        return "read; its mesh refused with the reason"
    except MemoryError:
        return "read; its mesh refused for memory"
    except Cancelled:
        return "read; its mesh cancelled"
    return "read and meshed"


def main(folder: Path, count: int, seed: int) -> int:
    torch.set_num_threads(1)
    wholes = [path.read_bytes() for path in sorted(folder.glob("*.dsr"))]
    for content in wholes:
        assert outcome(content) == "read and meshed", "input that nobody changed is taken"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (before + 2 * BYTES,) * 2)
    counts: Counter[str] = Counter()
    faults, longest = [], 0.0
    attempts = itertools.count()
    while counts.total() < count:
        number_ = next(attempts)
        draw = random.Random(f"{seed} {number_}")
        try:
            data = forge(draw, draw.choice(wholes))
        except (ValueError, RuntimeError, OverflowError, TypeError, KeyError, AttributeError):
            # No file can hold such a change, as a tensor of no number.
            continue
        start = time.process_time()
        try:
            counts[outcome(data)] += 1
        except Exception:  # noqa: BLE001 - an error without a name is what is looked for
            counts["an error without a name"] += 1
            faults.append(f"{seed} {number_}: {traceback.format_exc()}")
        spent = time.process_time() - start
        longest = max(longest, spent)
        if spent > SECONDS:
            faults.append(f"{seed} {number_}: it took {spent:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if peak > BYTES:
        faults.append(f"they took {peak} bytes")
    print(json.dumps({"counts": counts, "longest": longest, "megabytes": peak / 2**20, "faults": faults[:20]}))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
