"""The coding of arrays in `.dsr` files: the entry that each kind of values gets, and every value back, bit by bit."""

import math
import zlib

import numpy as np
import pytest
from dsr_backend.results import coding
from dsr_backend.results.coding import decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st


def f4(*values):
    return np.array(values, np.float32)


def packed(values):
    """The stream of whole numbers: 2n or −2n − 1, the lowest bytes first."""
    folded = [2 * n if n >= 0 else -2 * n - 1 for n in values]
    return bytes(n >> 8 * plane & 255 for plane in range(4) for n in folded)


def encode_exactly(values):
    data, entry = encode(values)
    decoded = decode(data, entry, values.shape)
    np.testing.assert_array_equal(decoded.view(np.int32), np.asarray(values).view(np.int32))
    return data, entry


# Multiples of a step


@pytest.mark.parametrize(
    "values, step, integral",
    [
        (f4(3, -1, 2), 1.0, [3, -1, 2]),
        (f4(0.5, 2.0, -1.0), 0.5, [1, 4, -2]),
        (f4(2.0**-16, -3 * 2.0**-16), 2.0**-16, [1, -3]),
        (f4(0.0, 2.0**31 - 128), 1.0, [0, 2**31 - 128]),
    ],
)
def test_multiples_of_a_step_are_coded_as_such(values, step, integral):
    data, entry = encode(values)
    assert entry == {"shape": [len(values)], "axes": [], "step": step, "shift": 0}
    assert zlib.decompress(data) == packed(integral)
    encode_exactly(values)


@pytest.mark.parametrize(
    "values, shift",
    [
        # No multiples of 2⁻¹⁶, or too large for whole numbers, or no numbers.
        (f4(2.0**-17), 24),
        (f4(1.0, 2.0**-17), 23),
        (f4(1.0, 2.0**31), 23),
        (f4(1.5, 2.0**31), 22),
        (f4(np.pi), 0),
        (f4(1.0, np.nan), 22),
        (f4(1.0, -np.inf), 23),
        # Half precision has 13 bits fewer.
        (np.array([0.1, 1e-3, -3.3], np.float16).astype(np.float32), 13),
    ],
)
def test_other_values_are_coded_by_their_bits(values, shift):
    _, entry = encode_exactly(values)
    assert entry["step"] is None and entry["shift"] == shift


def test_bits_are_in_the_order_of_the_values():
    """So that near values have near numbers: of negative ones all bits but the sign are turned over."""
    data, entry = encode(f4(-2.0, -1.0, 1.0, 2.0, 2.0**-17))
    assert entry == {"shape": [5], "axes": [0], "step": None, "shift": 23}
    # Sign and exponent alone: 127 for 1, 128 for 2, 110 for 2⁻¹⁷; in differences.
    assert zlib.decompress(data) == packed([-129, -128 + 129, 127 + 128, 128 - 127, 110 - 128])


def test_a_step_that_fits_a_sample_must_fit_all_values():
    values = np.zeros(5000, np.float32)
    values[4321] = 0.25
    assert encode_exactly(values)[1]["step"] == 0.25


def test_the_sample_is_a_thousand_values_at_most(monkeypatch):
    sizes = []
    multiples = vars(coding)["_multiples"]

    def counted(values, step):
        sizes.append(values.size)
        return multiples(values, step)

    monkeypatch.setattr(coding, "_multiples", counted)
    for count, sampled in ((999, 999), (1000, 500), (2500, 834)):
        sizes.clear()
        encode(np.zeros(count, np.float32))
        assert sizes == [sampled, count]


# Differences


def test_differences_are_taken_along_the_axes_where_they_are_smaller():
    rows = f4([500, -700, 300], [501, -699, 302], [503, -700, 301])
    data, entry = encode_exactly(rows)
    assert entry["axes"] == [0]
    assert zlib.decompress(data) == packed([500, -700, 300, 1, 1, 2, 2, -1, -1])
    assert encode_exactly(np.ascontiguousarray(rows.T))[1]["axes"] == [1]
    assert encode_exactly(np.add.outer(1000.0 * np.arange(4), 7.0 * np.arange(5)).astype(np.float32))[1]["axes"] == [
        0,
        1,
    ]
    assert encode_exactly(f4(100, -100, 100, -100))[1]["axes"] == []
    # As many bits either way: as it is.
    assert encode_exactly(f4(0, 0))[1]["axes"] == []


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_arrays_of_nothing(shape):
    _, entry = encode_exactly(np.zeros(shape, np.float32))
    assert entry["shape"] == list(shape)


@settings(deadline=None)
@given(
    st.lists(
        st.floats(-1e7, 1e7, width=32) | st.integers(-(2**20), 2**20).map(lambda n: n / 1024) | st.just(-0.0),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([1, 2, 3]),
)
def test_any_values_come_back_but_for_the_sign_of_zero(values, columns):
    array = np.array(values * columns, np.float32).reshape(-1, columns)
    data, entry = encode(array)
    decoded = decode(data, entry, array.shape)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, array)


# Refusals


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shape": [2, 2]}, r"it has shape \[2, 2\], the rest of the file wants \[4\]"),
        ({"step": 0.0}, "its step is 0.0"),
        ({"step": -1.0}, "its step is -1.0"),
        ({"step": 1}, "its step is 1"),
        ({"step": math.inf}, "its step is inf"),
        ({"step": 1.1e6}, "its step is 1100000.0"),
        ({"shift": 32}, "its bits are shifted by 32"),
        ({"shift": -1}, "its bits are shifted by -1"),
        ({"shift": True}, "its bits are shifted by True"),
        ({"axes": [1]}, r"its differences are along \[1\] of 1 axes"),
        ({"axes": [0, 0]}, r"its differences are along \[0, 0\] of 1 axes"),
        ({"axes": (0,)}, r"its differences are along \(0,\) of 1 axes"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(change, message):
    data, entry = encode(f4(1, 2, 3, 5))
    with pytest.raises(ValueError, match=message):
        decode(data, {**entry, **change}, (4,))


@pytest.mark.parametrize("shift", [0, 31])
def test_all_shifts_of_bits_are_taken(shift):
    data, entry = encode(f4(1, 2, 3, 5))
    assert decode(data, {**entry, "step": None, "shift": shift}, (4,)).shape == (4,)


def test_a_shape_that_no_stream_fills_is_refused_before_it_is_allocated(monkeypatch):
    entry = {"shape": [2581], "axes": [], "step": 1.0, "shift": 0}
    with pytest.raises(ValueError, match=r"its 10 bytes can't become 10324, which shape \[2581\] takes"):
        decode(bytes(10), entry, (2581,))
    with pytest.raises(ValueError, match="deflate"):
        decode(bytes(10), {**entry, "shape": [2580]}, (2580,))
    monkeypatch.setattr(coding, "MAX_BYTES", 15)
    data, entry = encode(f4(1, 2, 3, 5))
    with pytest.raises(ValueError, match="can't become 16"):
        decode(data, entry, (4,))
    monkeypatch.setattr(coding, "MAX_BYTES", 16)
    assert decode(data, entry, (4,)).tolist() == [1, 2, 3, 5]
