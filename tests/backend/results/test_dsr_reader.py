"""Files whole by their digest that hold no field: each is refused for its own fault, before much is allocated."""

import re
import zlib

import numpy as np
import pytest
import safetensors.torch
import torch
from dsr_backend.fields.fast import FastField
from dsr_backend.motion.forecast import Forecast
from dsr_backend.results.dsr_file import CheckpointError, from_bytes, to_bytes

from support.dsr_parts import (
    coded,
    corrected,
    drop,
    file_parts,
    forged,
    in_sequence,
    lattice,
    packed,
    put,
    recoded,
    refuse,
    tensor,
)
from support.shapes import fit, peptide


@pytest.fixture(scope="module")
def field():
    fitted = corrected(fit(peptide()[:3]))
    # A forecast as a longer fit has one.
    fitted.motion.forecasts = (Forecast(), Forecast(2, 6, 1.5, (1.0, 2.0), (0.25, 1.0 / 3.0)))
    return fitted


@pytest.fixture(scope="module")
def data(field):
    return to_bytes(field)


HUGE = zlib.compress(bytes(50_000_000))


def lacks(error):
    return rf"^the file lacks a part of a field, or has a wrong one: {error}"


def entry(name, value):
    """An entry of the JSON, given by its path with dots."""
    *path, last = name.split(".")

    def change(tensors, description):
        for key in path:
            description = description[int(key) if key.isdigit() else key]
        description[last] = value

    return change


def at(name, index, value):
    """One value of a tensor."""

    def make(values):
        values = values.clone()
        values[index] = value
        return values

    return tensor(name, make)


def turns(make):
    return tensor("motion.rotations", lambda values: torch.stack([make(matrix) for matrix in values]))


def forecast(**values):
    def change(tensors, description):
        description["forecasts"][1].update(values)

    return change


def times(*values):
    return put(times=list(values))


# In messages, <n> stands for the nodes of the band, and so on: see `numbers`.
FORGED = [
    # Parts that lack
    *((lacks(rf"KeyError\('{name}'\)"), drop(name)) for name in ("band", "static", "coarse_modes", "motion.states")),
    *((lacks(rf"KeyError\('{name}'\)"), drop(name)) for name in ("fine_coefficients", "motion.rotations")),
    *((lacks(rf"KeyError\('{name}'\)"), drop(name)) for name in ("motion.reference", "decoder.layers.2.bias")),
    *((lacks(rf"KeyError\('{name}'\)"), drop(name)) for name in ("lattice", "factor", "smooth", "sigma", "forecasts")),
    *((lacks(rf"KeyError\('{name}'\)"), drop(name)) for name in ("frame", "extent", "report", "clearance")),
    (lacks(r"KeyError\('network.layers.-1.weight'\)"), put(kind="paper")),
    ("^a field of kind 'slow' is not known; this version reads fast, paper, family$", put(kind="slow")),
    # Entries
    ("^factor is 0, not within 1 and 1024$", put(factor=0)),
    ("^factor is 1025, not within 1 and 1024$", put(factor=1025)),
    (r"^a lattice 3 times coarser than <shape> nodes shares no corners$", put(factor=3)),
    ("^factor is 'four', not a whole number$", put(factor="four")),
    ("^factor is 4.0, not a whole number$", put(factor=4.0)),
    ("^factor is True, not within 1 and 1024$", put(factor=True)),
    (lacks("TypeError"), put(lattice=[1, 2, 3])),
    (lacks(r"ValueError\('zip\(\) argument 2 is longer"), put(forecasts=[])),
    (r"^cuts at \(3,\) do not go with 3 states$", put(breaks=[3])),
    (r"^motion.reference is torch.float32 \[133, 3\], .* wants torch.float32 \[2, 133, 3\]$", put(breaks=[1])),
    (r"^cuts at \(2, 1\) do not go with 3 states$", put(breaks=[2, 1])),
    (r"^cuts at \(1, 1\) do not go with 3 states$", put(breaks=[1, 1])),
    (r"^cuts at \(1,\) in a loop do not go with 3 states$", put(breaks=[1], period=3.0)),
    ("^breaks is 0, not within 1 and 1e", put(breaks=[0])),
    ("^breaks is 1.0, not a whole number$", put(breaks=[1.0])),
    # The last stretch has one state, which has no velocity.
    ("^a forecast of rank 2, window 6, damping 1.5 is none$", put(breaks=[2])),
    (lacks(r"KeyError\('rank'\)"), put(forecasts=[{}, {}])),
    (lacks(r"ValueError\('not enough values to unpack \(expected 3, got 2"), put(frame={"centre": [0, 0], "scale": 1})),
    ("^frame.scale is -1, not within 1e-09 and 1e", put(frame={"centre": [0, 0, 0], "scale": -1})),
    ("^frame.centre is 1000001.0, not within -1e", entry("frame.centre", [0.0, 1000001.0, 0.0])),
    (lacks("ValueError.*cannot reshape array of size 3"), put(extent=[[1, 2], [3]])),
    (lacks("TypeError"), put(extent=[1, 2, 3])),
    (r"^a box from \[0.0, 0.0, 5.0\] to \[1.0, 1.0, 4.0\] Å is none$", put(extent=[[0, 0, 5], [1, 1, 4]])),
    (lacks("TypeError"), put(report=5)),
    ("^report.area is -1.0, not within 0 and 1e", entry("report.area", -1.0)),
    ("^smooth is None, not within 0 and 1e", put(smooth=None)),
    ("^smooth is True, not within 0 and 1e", put(smooth=True)),
    ("^smooth_beyond is -0.5, not within 0 and 1e", put(smooth_beyond=-0.5)),
    ("^smooth_atoms is -0.5, not within 0 and 1e", put(smooth_atoms=-0.5)),
    ("^smooth_pose is -0.5, not within 0 and 1e", put(smooth_pose=-0.5)),
    ("^sigma is 0.0, not within 0.1 and 100$", put(sigma=0.0)),
    ("^clearance is -1.0, not within 0 and 100000$", put(clearance=-1.0)),
    ("^reach is -1.0, not within 0 and 1e", put(reach=-1.0)),
    ("^a loop of 2.0 states does not go with states 1 to 3$", put(period=2.0)),
    ("^period is inf, not within 1e-09 and 1e", put(period=float("inf"))),
    ("^period is '3 states', not within 1e-09 and 1e", put(period="3 states")),
    ("^lift is None, not within -100 and 100$", put(lift=None)),
    ("^lift is 100.5, not within -100 and 100$", put(lift=100.5)),
    ("^spatial_width is -0.5, not within 0 and 10$", put(spatial_width=-0.5)),
    ("^spatial_width is 9.5 Å, more than 8 spacings of 1 Å$", put(spatial_width=9.5)),
    (lacks("Value.*state 2 is at 1 and state 3 at 1"), times(0.0, 1.0, 1.0)),
    ("^times is 'now', not within -1e", times(0.0, "now", 2.0)),
    # The lattice
    (r"^a lattice of 1048576×1048576×1048576 nodes has more than 268435456 nodes$", lattice(shape=[2**20] * 3)),
    (r"^a lattice of 16384×16384×2 nodes has more than 268435456 nodes$", lattice(shape=[2**14, 2**14, 2])),
    (r"^band is torch.uint8 \[<band>\], .* wants torch.uint8 \[33554432\]$", lattice(shape=[2**13, 2**14, 2])),
    ("^lattice.shape is 1, not within 2 and 6.71089e", lattice(shape=[1, 1, 1])),
    (lacks("ValueError"), lattice(shape=[10, 10])),
    ("^lattice.shape is -5, not within 2 and 6.71089e", lattice(shape=[-5, -5, 5])),
    ("^lattice.shape is inf, not a whole number$", lattice(shape=[1e400, 5, 5])),
    ("^lattice.spacing is 0.0, not within 0.001 and 1000$", lattice(spacing=0.0)),
    ("^lattice.spacing is nan, not within 0.001 and 1000$", lattice(spacing=float("nan"))),
    (lacks("ValueError"), lattice(origin=[0.0, 0.0])),
    ("^lattice.origin is inf, not within -1e", lattice(origin=[0.0, 0.0, float("inf")])),
    (
        r"^band is torch.uint8 \[<band - 1>\], the rest of the file wants torch.uint8 \[<band>\]$",
        tensor("band", lambda t: t[:-1]),
    ),
    (r"^band is torch.float32 \[<band>\], .* wants torch.uint8 \[<band>\]$", tensor("band", lambda t: t.float())),
    ("^none of the <nodes> nodes of its lattice is in the band$", tensor("band", torch.zeros_like)),
    # Coded tensors
    (r"^static: it has shape \[<n - 1>, 2\], .* wants \[<n>, 2\]$", recoded("static", lambda v: v[:-1])),
    (r"^static: it has shape \[<n>, 1\], .* wants \[<n>, 2\]$", recoded("static", lambda v: v[:, :1])),
    (r"^static: it has shape \[<n>\], .* wants \[<n>, 2\]$", recoded("static", lambda v: v[:, 0])),
    (r"^fine_modes: it has shape \[3, <n - 1>\], .* wants \[3, <n>\]$", recoded("fine_modes", lambda v: v[:, :-1])),
    (r"^fine_modes: it has shape \[2, <n>\], .* wants \[3, <n>\]$", recoded("fine_modes", lambda v: v[:-1])),
    (
        r"^coarse_modes: it has shape \[3, <coarse - 1>\], .* wants \[3, <coarse>\]$",
        recoded("coarse_modes", lambda v: v[:, :-1]),
    ),
    (
        r"^motion.atoms: it has shape \[3, 132, 3\], .* wants \[3, 133, 3\]",
        recoded("motion.atoms", lambda v: v[:, :-1]),
    ),
    (r"^motion.atoms: it has shape \[133, 3\], .* wants \[3, 133, 3\]$", recoded("motion.atoms", lambda v: v[0])),
    ("^fine_modes has values that are not within -1e.07 and 1e.07, or", recoded("fine_modes", lambda v: v + 2e7)),
    ("^motion.atoms has values that are not within -1e.06 and 1e", recoded("motion.atoms", lambda v: v + 2e6)),
    # The right number of values, said to be of another shape or coded otherwise.
    (r"^fine_modes: it has shape \[1000000, 1000000\], .* wants \[3, <n>\]$", coded("fine_modes", shape=[10**6] * 2)),
    (r"^fine_modes: it has shape None, the rest of the file wants \[3, <n>\]$", coded("fine_modes", shape=None)),
    ("^fine_modes: its step is 0.0$", coded("fine_modes", step=0.0)),
    ("^fine_modes: its step is inf$", coded("fine_modes", step=float("inf"))),
    ("^fine_modes: its step is nan$", coded("fine_modes", step=float("nan"))),
    ("^fine_modes: its step is '1'$", coded("fine_modes", step="1")),
    ("^fine_modes: its bits are shifted by 32$", coded("fine_modes", step=None, shift=32)),
    ("^fine_modes: its bits are shifted by -1$", coded("fine_modes", step=None, shift=-1)),
    ("^fine_modes: its bits are shifted by 0.5$", coded("fine_modes", step=None, shift=0.5)),
    (r"^fine_modes: its differences are along \[2\] of 2 axes$", coded("fine_modes", axes=[2])),
    (r"^fine_modes: its differences are along \[1, 0\] of 2 axes$", coded("fine_modes", axes=[1, 0])),
    (r"^fine_modes: its differences are along \[0, 0\] of 2 axes$", coded("fine_modes", axes=[0, 0])),
    (r"^fine_modes: its differences are along \[-1\] of 2 axes$", coded("fine_modes", axes=[-1])),
    (r"^fine_modes: its differences are along None of 2 axes$", coded("fine_modes", axes=None)),
    (r"^motion.atoms is torch.uint8 \[\d+\], .* wants torch.float32 \[3, 133, 3\]$", put(coded={})),
    (lacks("AttributeError"), put(coded=[])),
    (r"^motion.atoms is torch.uint8 \[\d+\], .* wants torch.float32 \[3, 133, 3\]$", put(coded={"fine_modes": 5})),
    # Streams that end early, are none, go on, or would fill the memory.
    (r"^fine_modes: its \d+ bytes do not unpack to the <12 n> of its shape$", packed("fine_modes", lambda b: b[:-1])),
    (r"^fine_modes: its \d+ bytes do not unpack to the <12 n>", packed("fine_modes", lambda b: b[: len(b) // 2])),
    (r"^fine_modes: its \d+ bytes do not unpack to the <12 n>", packed("fine_modes", lambda b: b + b"\0")),
    (
        r"^fine_modes: its 0 bytes can't become <12 n>, which shape \[3, <n>\] takes",
        packed("fine_modes", lambda b: b""),
    ),
    (r"^fine_modes: its \d+ bytes are no deflate stream: Error -3", packed("fine_modes", lambda b: bytes(len(b)))),
    (r"^fine_modes: its \d+ bytes do not unpack to the <12 n>", packed("fine_modes", lambda b: HUGE)),
    # As much as the coefficients say there is, but no stream holds as much.
    (
        r"^fine_modes: it has shape \[1000000, 0\], the rest of the file wants \[1000000, <n>\]$",
        in_sequence(
            tensor("fine_coefficients", lambda t: torch.zeros(3, 10**6)), coded("fine_modes", shape=[10**6, 0])
        ),
    ),
    # Tensors
    (r"^fine_modes is torch.uint8 \[1, (\d+)\], .* wants torch.uint8 \[\1\]$", tensor("fine_modes", lambda t: t[None])),
    (r"^fine_modes is torch.float32 \[(\d+)\], .* torch.uint8 \[\1\]$", tensor("fine_modes", lambda t: t.float())),
    (
        r"^coarse_coefficients is torch.float32 \[2, 3\], .* wants torch.float32 \[3, 3\]$",
        tensor("coarse_coefficients", lambda t: t[:-1]),
    ),
    (
        r"^fine_modes: it has shape \[3, <n>\], .* wants \[2, <n>\]$",
        tensor("fine_coefficients", lambda t: t[:, :-1]),
    ),
    ("^coarse_coefficients has values that are not within -1e.07 and", at("coarse_coefficients", 0, torch.inf)),
    (
        r"^motion.rotations is torch.float64 \[3, 3, 3\], .* wants torch.float64 \[0, 3, 3\]$",
        tensor("motion.states", lambda t: t[:0]),
    ),
    (
        "^its 0 states do not rise$",
        in_sequence(*(tensor(f"motion.{name}", lambda t: t[:0]) for name in ("states", "rotations", "translations"))),
    ),
    ("^its 3 states do not rise$", tensor("motion.states", lambda t: t.flip(0))),
    ("^its 3 states do not rise$", at("motion.states", 1, 1.0 + 5e-10)),
    ("^motion.states has values that are not within -1e.07 and", tensor("motion.states", lambda t: t * torch.nan)),
    (
        r"^motion.states is torch.float64 \[1, 3\], .* wants torch.float64 \[3\]$",
        tensor("motion.states", lambda t: t[None]),
    ),
    (
        r"^motion.reference is torch.float32 \[133, 2\], .* wants torch.float32 \[133, 3\]$",
        tensor("motion.reference", lambda t: t[:, :2]),
    ),
    (
        r"^motion.rotations is torch.float64 \[3, 2, 3\], .* wants torch.float64 \[3, 3, 3\]$",
        tensor("motion.rotations", lambda t: t[:, :2]),
    ),
    (
        r"^motion.translations is torch.float32 \[3, 3\], .* wants torch.float64 \[3, 3\]$",
        tensor("motion.translations", lambda t: t.float()),
    ),
    ("^motion.translations has values that are not within -2e.06 and 2e", at("motion.translations", (0, 0), 2.1e6)),
    ("^motion.reference has values that are not within -1e.06 and 1e", at("motion.reference", (0, 0), 1.1e6)),
    ("^motion.rotations has values that are not within -1.001 and 1.001", at("motion.rotations", (0, 0, 0), 1.1)),
    ("^motion.rotations has matrices that do not turn only", turns(lambda matrix: matrix * 0.999)),
    (
        "^motion.rotations has matrices that do not turn only",
        turns(lambda matrix: matrix * torch.tensor([1.0, 1.0, -1.0])),
    ),
    ("^motion.rotations has matrices that do not turn only", at("motion.rotations", 1, 0.0)),
    (
        r"^static: it has shape \[<n>, 2\], .* wants \[<n>, 1\]$",
        tensor("decoder.layers.0.weight", lambda t: t[:, :-1]),
    ),
    (
        r"^decoder.layers.0.bias is torch.float32 \[24\], .* wants torch.float32 \[1000000000\]$",
        tensor("decoder.layers.0.weight", lambda t: torch.zeros(10**9, 0)),
    ),
    (
        r"^decoder.layers.2.weight is torch.float32 \[23, 24\], .* wants torch.float32 \[24, 24\]$",
        tensor("decoder.layers.2.weight", lambda t: t[:-1]),
    ),
    (
        r"^decoder.layers.4.weight is torch.float32 \[1, 23\], .* wants torch.float32 \[1, 24\]$",
        tensor("decoder.layers.4.weight", lambda t: t[:, :-1]),
    ),
    (r"^static: it has shape \[<n>, 2\], .* wants \[<n>, 1\]$", tensor("latent", lambda t: torch.zeros(1))),
    ("^the decoder takes 7 numbers, fewer than there are$", tensor("latent", lambda t: torch.zeros(3))),
    (
        r"^latent is torch.float64 \[0\], the rest of the file wants torch.float32 \[0\]$",
        tensor("latent", lambda t: t.double()),
    ),
    # Forecasts
    ("^a forecast of rank 4, window 6, damping 1.5 is none$", forecast(rank=4)),
    ("^a forecast of rank 2, window 1, damping 1.5 is none$", forecast(window=1)),
    ("^a forecast of rank 2, window 6, damping 0.0 is none$", forecast(damping=0.0)),
    ("^a forecast of rank 2, window 6, damping 20.5 is none$", forecast(damping=20.5)),
    ("^forecasts.rank is 1001, not within 0 and 1000$", forecast(rank=1001)),
    ("^forecasts.window is -1, not within 0 and 1e", forecast(window=-1)),
    ("^forecasts.window is 2.5, not a whole number$", forecast(window=2.5)),
    ("^forecasts.damping is -1.0, not within 0 and 1e", forecast(damping=-1.0)),
    ("^forecasts.leads is 0.0, not within 1e-09 and 1e", forecast(leads=[0.0, 1.0])),
    ("^forecasts.errors is -0.1, not within 0 and 1e", forecast(errors=[0.1, -0.1])),
    ("^a forecast has 1 leads, not all rising, and 2 errors$", forecast(leads=[1.0])),
    ("^a forecast has 2 leads, not all rising, and 2 errors$", forecast(leads=[2.0, 1.0])),
    ("^a forecast has 2 leads, not all rising, and 2 errors$", forecast(leads=[1.0, 1.0])),
    # Atoms so far apart that the warp's lattice would fill the memory.
    (r"^its atoms take a box of \d{5} × \d\d × \d\d Å$", recoded("motion.atoms", lambda v: v * [2000, 1, 1])),
    (r"^its atoms take a box of \d+ × \d+ × \d+ Å$", recoded("motion.atoms", lambda v: v * [90, 90, 90])),
]


@pytest.fixture(scope="module")
def numbers(field):
    lattice, count = field.band.lattice, field.band.count
    coarse, packed = lattice.coarser(field.factor).size, (lattice.size + 7) // 8
    return {
        "<n>": count,
        "<n - 1>": count - 1,
        "<12 n>": 12 * count,
        "<nodes>": lattice.size,
        "<band>": packed,
        "<band - 1>": packed - 1,
        "<coarse>": coarse,
        "<coarse - 1>": coarse - 1,
        "<shape>": re.escape(str(lattice.shape)),
    }


@pytest.mark.parametrize("message, change", FORGED)
def test_parts_that_do_not_fit_are_refused_before_much_is_allocated(data, numbers, message, change):
    for name, number in numbers.items():
        message = message.replace(name, str(number))
    file = forged(data, change)
    # The parts themselves, some times over.
    assert re.search(message, refuse(file, 20 * len(data) + 3 * len(file)))


@pytest.mark.parametrize(
    "change",
    [
        put(period=2.0 + 1e-9),
        in_sequence(put(breaks=[1, 2]), forecast(rank=0), tensor("motion.reference", lambda t: torch.stack([t] * 3))),
        forecast(rank=3),
        forecast(window=2),
        forecast(damping=20.0),
        forecast(leads=[1e-9, 1.0]),
        at("motion.states", 1, 1.0 + 2e-9),
        turns(lambda matrix: matrix * (1 + 2e-7)),
        lattice(origin=[1e6, -1e6, 0.0]),
        put(extent=[[0, 0, 0], [0, 0, 0]]),
        put(lift=-100.0, sigma=0.1, clearance=0.0, smooth=0.0, reach=1e6),
        put(times=[-1e15, 0.0, 1e15]),
        recoded("motion.atoms", lambda v: v * [22, 22, 22]),
    ],
)
def test_numbers_at_the_ends_of_their_ranges_are_taken(data, change):
    assert isinstance(from_bytes(forged(data, change)), FastField)


def test_a_lattice_that_no_stream_fills(data):
    """A band of 10⁶ nodes and 10⁶ modes of them: 4 TB, which the file's own numbers ask for."""

    def change(tensors, description):
        description["lattice"]["shape"] = [101, 101, 101]
        tensors["band"] = torch.full(((101**3 + 7) // 8,), 255, dtype=torch.uint8)
        tensors["coarse_coefficients"] = torch.zeros(3, 3)
        recoded("coarse_modes", lambda values: np.zeros((3, 26**3), np.float32))(tensors, description)
        tensors["fine_coefficients"] = torch.zeros(3, 10**6)
        coded("fine_modes", shape=[10**6, 101**3])(tensors, description)

    file = forged(data, change)
    assert "can't become 4121204000000" in refuse(file, 20 * len(file))


def test_a_digest_of_another_file_is_shown_by_its_first_eighty_characters(data):
    tensors, metadata = file_parts(data)
    right = metadata["digest"]
    metadata["digest"] = "x" * 79 + "yz"
    with pytest.raises(CheckpointError, match=f"its digest is {right}, it says {'x' * 79}y$"):
        from_bytes(safetensors.torch.save(tensors, metadata))
    del metadata["digest"]
    with pytest.raises(CheckpointError, match=f"its digest is {right}, it says None$"):
        from_bytes(safetensors.torch.save(tensors, metadata))


def test_a_fault_without_words_of_its_own_is_shown_by_its_first_three_hundred_characters(data):
    file = forged(data, lambda tensors, description: tensors.update({"decoder." + "x" * 400: torch.zeros(1)}))
    start = "the file lacks a part of a field, or has a wrong one: "
    message = refuse(file, 100 * len(data))
    assert message.startswith(start + "RuntimeError") and len(message) == len(start) + 300
