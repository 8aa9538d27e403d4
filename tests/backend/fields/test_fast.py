"""The field `fast` put together by hand: modes, band and halo, features, continuity, what lies outside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dsr_backend.fields import fast
from dsr_backend.fields.base import TETRAHEDRON, Family, scene_box
from dsr_backend.fields.fast import BAND_MASK, VALUE, Decoder, LowRankBasis
from dsr_backend.motion.time_axis import TimeAxis

from support.fast_field import LATTICE, ball_band, basis_of, field
from support.formula_field import SPHERE, Formula, balls
from support.shapes import cloud


def points(count=4000, reach=9.0, seed=0):
    return torch.tensor(np.random.default_rng(seed).uniform(-reach, reach, (count, 3)), dtype=torch.float32)


# Modes


def test_few_states_are_their_own_modes():
    values = torch.rand(5, 300)
    modes = basis_of(values, 8)
    for k in range(5):
        # In steps of 1/256 Å.
        np.testing.assert_allclose(modes.mix(torch.eye(5)[k]), values[k], atol=1 / 512 + 1e-6)


def test_states_that_few_modes_can_show_are_shown():
    values = torch.rand(20, 3) @ torch.rand(3, 500)
    modes = basis_of(values, 3)
    assert modes.modes.shape == (3, 500) and modes.coefficients.shape == (20, 3)
    mixed = torch.stack([modes.mix(weights) for weights in torch.eye(20)])
    np.testing.assert_allclose(mixed, values, atol=5e-3)


@pytest.mark.parametrize("states, loss", [(10, 1e-3), (40, 0.05)])
def test_modes_are_the_best_ones(states, loss):
    """As near as the singular value decomposition gets; almost so where there are too many states to hold."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(states, 8, generator=generator) @ torch.randn(8, 400, generator=generator)
    values += 0.3 * torch.randn(states, 400, generator=generator)
    modes = basis_of(values, 5)
    mixed = torch.stack([modes.mix(weights) for weights in torch.eye(states)])
    best = torch.linalg.svdvals(values)[5:].norm()
    assert (mixed - values).norm().item() == pytest.approx(best.item(), rel=loss)


def test_mixing_is_linear_in_the_weights():
    modes = basis_of(torch.randn(4, 50), 2)
    a, b = torch.rand(4), torch.rand(4)
    np.testing.assert_allclose(modes.mix(0.3 * a + 0.7 * b), 0.3 * modes.mix(a) + 0.7 * modes.mix(b), atol=1e-5)


def test_modes_are_kept_as_they_are_stored():
    modes = basis_of(torch.randn(4, 50), 8)
    assert torch.equal((256 * modes.modes).round(), 256 * modes.modes)


# Band


def test_rows_are_the_band_then_a_halo_around_it():
    band = ball_band()
    inside = band.inside.reshape(LATTICE.shape)
    assert band.count == int(inside.sum()) and inside.reshape(-1)[band.node_numbers[: band.count]].all()
    rows = set(band.node_numbers.tolist())
    reached = set()
    for i, j, k in torch.nonzero(inside).tolist():
        for a in (i - 1, i, i + 1):
            for b in (j - 1, j, j + 1):
                for c in (k - 1, k, k + 1):
                    if 0 <= a < LATTICE.shape[0] and 0 <= b < LATTICE.shape[1] and 0 <= c < LATTICE.shape[2]:
                        reached.add((a * LATTICE.shape[1] + b) * LATTICE.shape[2] + c)
    assert rows == reached
    assert torch.equal(band.rows(band.node_numbers), torch.arange(len(band.node_numbers), dtype=torch.int32))
    assert (band.rows(torch.arange(LATTICE.size)) >= 0).sum() == len(band.node_numbers)


def test_neighbours_are_one_step_away_or_the_row_itself():
    band = ball_band(radius=8.5)
    positions = band.lattice.nodes(band.node_numbers)
    for column, (axis, sign) in enumerate((a, s) for a in range(3) for s in (-1.0, 1.0)):
        step = positions[band.neighbours[:, column]] - positions
        direction = torch.zeros(3)
        direction[axis] = sign
        own_row = (step == 0.0).all(1)
        assert ((step == direction).all(1) | own_row).all()
        # Rows of the band have all their neighbours but at the lattice's own rim.
        rim = positions[:, axis] == (positions.amax(0) if sign > 0 else positions.amin(0))[axis]
        assert not (own_row[: band.count] & ~rim[: band.count]).any()


# The function


def test_without_a_correction_f_is_the_trilinear_g():
    untrained = field(trained=False)
    snapshot = untrained.at(1.0)
    coarse_values, table = untrained.table(torch.tensor([1.0, 0.0]))
    x = points()
    rows = untrained.band.rows(LATTICE.corners(x)[0])
    fine = (rows >= 0).all(1)
    full = torch.zeros(LATTICE.size, 1)
    full[untrained.band.node_numbers] = table[:, :1]
    np.testing.assert_allclose(snapshot.distance(x[fine]), LATTICE.interpolate(full, x[fine])[:, 0], atol=1e-5)
    coarse = untrained.coarse_lattice.interpolate(coarse_values, x[~fine])[:, 0]
    np.testing.assert_allclose(snapshot.distance(x[~fine]), coarse, atol=1e-5)
    assert fine.sum() > 1000 and (~fine).sum() > 1000


def test_f_is_the_same_from_the_whole_lattice_and_from_the_band(monkeypatch):
    """Also beyond the box, where it grows by the distance."""
    untrained = field(trained=False)
    x = points(reach=20.0)
    from_lattice = untrained.at(1.0).distance(x)
    monkeypatch.setattr(fast, "MAX_WHOLE_NODES", 0)
    np.testing.assert_allclose(untrained.at(1.0).distance(x), from_lattice, atol=1e-5)


def test_f_is_continuous_everywhere_also_across_the_band_s_rim():
    snapshot = field().at(1.0)
    # Along lines through the whole box, f changes as little as the step is small.
    start, end = points(100, seed=1), points(100, seed=2)
    fraction = torch.linspace(0, 1, 2001)[:, None, None]
    values = snapshot.distance((start + fraction * (end - start)).reshape(-1, 3)).reshape(2001, 100)
    jumps = (values[1:] - values[:-1]).abs() / (end - start).norm(dim=1)
    # Slopes of these rough values reach 10 per Å; a step of 0.1 Å would show as 200.
    assert jumps.max() * 2000 < 40.0


def test_f_has_no_step_on_the_faces_of_the_rim():
    trained = field()
    snapshot = trained.at(1.0)
    # Points on lattice faces, and a hair to both sides of them.
    x = points(20_000)
    axis = torch.randint(0, 3, (len(x),), generator=torch.Generator().manual_seed(0))
    row = torch.arange(len(x))
    x[row, axis] = x[row, axis].round()
    hair = torch.zeros_like(x)
    hair[row, axis] = 1e-4
    cells = [(trained.band.rows(LATTICE.corners(p)[0]) >= 0).all(1) for p in (x - hair, x + hair)]
    rim = cells[0] != cells[1]
    assert rim.sum() > 500
    np.testing.assert_allclose(snapshot.distance((x - hair)[rim]), snapshot.distance((x + hair)[rim]), atol=5e-3)


def test_the_correction_is_zero_at_the_rim_and_whole_within():
    """m, interpolated over the band's own nodes, fades the decoder out over the last cell."""
    trained = field(smooth_fine=True)
    snapshot = trained.at(1.0)
    band = trained.band
    coarse_values, _ = trained.table(torch.tensor([1.0, 0.0]))
    g = trained.coarse_lattice.interpolate(coarse_values, LATTICE.nodes(band.node_numbers))[:, 0]
    correction = (snapshot.distance(LATTICE.nodes(band.node_numbers)) - g).abs()
    complete = (band.rows(LATTICE.corners(LATTICE.nodes(band.node_numbers))[0]) >= 0).all(1)
    assert correction[band.count :].max() < 1e-4
    assert correction[: band.count][complete[: band.count]].median() > 0.1


def test_beyond_the_box_the_distance_grows_by_the_way_to_it():
    snapshot = field().at(1.0)
    rim = torch.tensor([[12.0, 0, 0], [-12.0, -12.0, 12.0]])
    assert torch.equal(LATTICE.clamp(rim), rim)
    displacement = torch.tensor([[5.0, 0, 0], [-3.0, -4.0, 12.0]])
    np.testing.assert_allclose(
        snapshot.distance(rim + displacement), snapshot.distance(rim) + torch.tensor([5.0, 13.0]), atol=1e-4
    )


def test_gradient_of_a_linear_field_is_exact():
    plain = field(trained=False, smooth_fine=True)
    slope = torch.tensor([0.3, -0.8, 0.52])
    nodes = plain.coarse_lattice.nodes(torch.arange(plain.coarse_lattice.size))
    plain.coarse = LowRankBasis((nodes @ slope)[None], torch.ones(2, 1))
    snapshot = plain.at(1.0)
    x = points(1000, 8.0)
    np.testing.assert_allclose(snapshot.gradient(x, 0.6), slope.expand(1000, 3), atol=1e-4)


def test_features_of_a_quadratic_function():
    """Gradient and Laplacian (times the spacing) of g by central differences."""
    plain = field(states=1)
    positions = LATTICE.nodes(plain.band.node_numbers)
    quadratic = (positions**2 @ torch.tensor([1.0, 0.5, -0.25])) * 0.1
    coarse_at_nodes = plain.coarse_lattice.interpolate(plain.coarse.mix(torch.ones(1))[:, None], positions)[:, 0]
    plain.fine = LowRankBasis((quadratic - coarse_at_nodes)[None, : plain.band.count], torch.ones(1, 1))
    _, table = plain.table(torch.ones(1))
    band_rows = torch.arange(plain.band.count)
    # Rows whose neighbours are all in the band: the halo has the coarse values.
    deep = (plain.band.neighbours[: plain.band.count] < plain.band.count).all(1)
    assert deep.sum() > 100
    np.testing.assert_allclose(table[band_rows][deep][:, VALUE], quadratic[band_rows][deep], atol=1e-4)
    gradient = positions[band_rows][deep] * torch.tensor([0.2, 0.1, -0.05])
    np.testing.assert_allclose(table[band_rows][deep][:, 1:4], gradient, atol=1e-3)
    np.testing.assert_allclose(table[band_rows][deep][:, 4], 0.25, atol=1e-3)
    assert (table[: plain.band.count, BAND_MASK] == 1.0).all() and (table[plain.band.count :, BAND_MASK] == 0.0).all()


def test_chunks_change_nothing(monkeypatch):
    snapshot = field().at(1.0)
    x = points(1000)
    distances = snapshot.distance(x)
    monkeypatch.setattr("dsr_backend.fields.base.CHUNK", 77)
    np.testing.assert_allclose(snapshot.distance(x), distances, atol=1e-5)
    assert snapshot.distance(x[:0]).shape == (0,)


# Time


def test_between_states_values_are_mixed_by_the_weights():
    untrained = field(states=3, trained=False)
    x = points(500)
    first, second, middle = (untrained.at(t).distance(x) for t in (1.0, 2.0, 1.25))
    np.testing.assert_allclose(middle, 0.75 * first + 0.25 * second, atol=1e-4)


def test_smooth_replaces_the_field_s_own_width():
    untrained = field(states=5, trained=False)
    x = points(200)
    plain = untrained.at(2.5).distance(x)
    untrained.smooth = 2.0
    smoothed = untrained.at(2.5).distance(x)
    assert (smoothed - plain).abs().max() > 0.1
    np.testing.assert_array_equal(untrained.at(2.5, smooth=0.0).distance(x), plain)
    # A training state is itself whatever the width.
    np.testing.assert_allclose(untrained.at(2.0).distance(x), untrained.at(2.0, smooth=0.0).distance(x), atol=1e-5)


def test_a_slice_says_where_and_when_it_is():
    atoms = [cloud(30), cloud(30) + 1.0]
    with_atoms = field(atoms=atoms)
    inside, outside = with_atoms.at(1.0), with_atoms.at(3.5)
    assert (inside.extrapolated, inside.expected_error) == (False, 0.0)
    assert outside.extrapolated and np.isnan(outside.expected_error)
    np.testing.assert_allclose(inside.atoms, atoms[0], atol=1e-3)
    np.testing.assert_allclose(inside.box, [atoms[0].min(0) - 3.0, atoms[0].max(0) + 3.0], atol=1e-3)
    assert with_atoms.time_range == (1.0, 2.0)
    without = field().at(1.5)
    assert without.atoms is None and np.array_equal(without.box, [[-7.0] * 3, [7.0] * 3])


def test_the_field_moves_with_the_molecule():
    base = cloud(50)
    shift = np.array([20.0, -3.0, 5.0])
    moving = field(states=1, atoms=[base + shift])
    centre = torch.tensor(base.mean(0) + shift, dtype=torch.float32)
    resting = field(states=1)
    x = points(500)
    np.testing.assert_allclose(moving.at(1.0).distance(x + centre), resting.at(1.0).distance(x), atol=2e-3)


def test_tensors_are_all_that_is_learned():
    tensors = field().tensors()
    assert tensors["fine_modes"].dtype == tensors["coarse_modes"].dtype == torch.float32
    bits = np.unpackbits(tensors["band"].numpy(), count=LATTICE.size).astype(bool)
    assert np.array_equal(bits, ball_band().inside.numpy())
    assert {name for name in tensors if name.startswith("decoder.")} == {
        f"decoder.layers.{layer}.{parameter}" for layer in (0, 2, 4) for parameter in ("weight", "bias")
    }


def offset(fitted, time, smooth=None):
    """The distance in Å by which the surface lies farther outwards than without a level offset."""
    fitted.level_offset = 0.0
    plain = fitted.at(time, smooth).distance(points(50))
    fitted.level_offset = 0.5
    moved = plain - fitted.at(time, smooth).distance(points(50))
    np.testing.assert_allclose(moved, moved[0], atol=1e-5)
    return float(moved[0])


def test_the_level_offset_is_whole_between_averaged_states_and_none_at_them():
    fitted = field(states=4, trained=False)
    fitted.smooth = fitted.smooth_beyond = 1.0
    for time, fraction in ((2.0, 0.0), (2.25, 0.5), (2.5, 1.0), (4.0, 0.0), (4.25, 0.5), (6.0, 1.0)):
        assert offset(fitted, time) == pytest.approx(0.5 * fraction, abs=1e-5)
    # Straight lines between states, and states held past the ends, are no averages.
    assert offset(fitted, 2.5, smooth=0.0) == 0.0
    fitted.smooth_beyond = 0.0
    assert offset(fitted, 6.0) == 0.0
    assert offset(fitted, 6.0, smooth=2.0) == pytest.approx(0.5, abs=1e-5)
    # A field that never averages has chosen its offset for straight lines.
    fitted.smooth = 0.0
    assert offset(fitted, 2.5) == pytest.approx(0.5, abs=1e-5)
    assert offset(fitted, 6.0) == 0.0


def roughness(fitted, time, smooth=None):
    """The mean change of f at a time by a spatial width, in Å."""
    fitted.spatial_width = 0.0
    plain = fitted.at(time, smooth).distance(points(200))
    fitted.spatial_width = 0.7
    return float((fitted.at(time, smooth).distance(points(200)) - plain).abs().mean())


def test_averages_of_states_are_smoothed_in_space_and_the_states_are_not():
    fitted = field(states=4, trained=False)
    fitted.smooth = fitted.smooth_beyond = 1.0
    assert roughness(fitted, 2.0) == roughness(fitted, 4.0) == 0.0
    # Its variance grows with the blend.
    assert 0.0 < roughness(fitted, 2.1) < roughness(fitted, 2.25) < roughness(fitted, 2.5)
    assert roughness(fitted, 6.0) > 0.0
    # Straight lines between states, and states held past the ends, are no averages.
    assert roughness(fitted, 2.5, smooth=0.0) == 0.0
    fitted.smooth_beyond = 0.0
    assert roughness(fitted, 6.0) == 0.0


def test_past_the_states_the_modes_have_a_width_of_their_own():
    fitted = field(states=5, trained=False)
    fitted.smooth, fitted.smooth_beyond = 0.7, 2.0
    x = points(50)
    np.testing.assert_array_equal(fitted.at(6.5).distance(x), fitted.at(6.5, smooth=2.0).distance(x))
    np.testing.assert_array_equal(fitted.at(4.5).distance(x), fitted.at(4.5, smooth=0.7).distance(x))
    assert (fitted.at(6.5, smooth=0.7).distance(x) - fitted.at(6.5).distance(x)).abs().max() > 0.1


def test_uniform_smoothing_is_one_gap_wide_at_least():
    fitted = field(states=5, trained=False)
    fitted.motion.kernel = replace(fitted.motion.kernel, states=2.0 * fitted.motion.states)
    for width, expected in ((0.0, 2.0), (3.0, 3.0)):
        fitted.smooth = fitted.motion.smooth = width
        smoothed = fitted.with_uniform_smoothing()
        assert (smoothed.smooth, smoothed.motion.smooth, smoothed.motion.kernel.uniform) == (expected, expected, True)
        assert (fitted.smooth, fitted.motion.kernel.uniform) == (width, False)


def test_more_states_than_modes_are_compressed_as_they_come(monkeypatch):
    """At most twice as many rows as modes are held, and each state is added to them."""
    held = []
    eigenvectors = torch.linalg.eigh

    def counted(products):
        held.append(len(products))
        return eigenvectors(products)

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    for states, counts in ((3, []), (4, [4]), (6, [6]), (7, [6, 4]), (9, [6, 6]), (10, [6, 6, 4])):
        held.clear()
        assert basis_of(torch.randn(states, 40), 3).modes.shape == (3, 40)
        assert held == counts


def test_values_are_in_steps_of_a_256th():
    assert fast.quantize(torch.tensor([0.0, 1.0, 1 / 256, 0.4 / 256, -1.6 / 256])).tolist() == [
        0,
        1,
        1 / 256,
        0,
        -2 / 256,
    ]


def test_nodes_of_a_fine_lattice_take_four_gibibytes_at_most():
    # Sixteen bytes each while a band is laid out.
    assert fast.MAX_NODES * 16 == 2**32


def test_a_decoder_has_two_hidden_layers():
    shapes = [tuple(parameter.shape) for parameter in Decoder(7, 16).parameters()]
    assert shapes == [(16, 7), (16,), (16, 16), (16,), (1, 16), (1,)]


def test_a_decoder_reads_its_features_and_the_latent_code():
    """g, its gradient and Laplacian, the static channels and z; not the mask, which multiplies what it says."""
    fitted = field(states=1)
    decoder_inputs = []

    def decoder(inputs):
        decoder_inputs.append(inputs)
        return torch.full((len(inputs),), 10.0)

    fitted.correction = replace(fitted.correction, decoder=decoder, latent=torch.tensor([3.0, -4.0]))
    features = torch.arange(16.0).reshape(2, 8)
    features[:, BAND_MASK] = torch.tensor([0.25, 0.0])
    assert fitted.decode(features).tolist() == [0.0 + 2.5, 8.0]
    assert decoder_inputs[0].tolist() == [[0, 1, 2, 3, 4, 6, 7, 3, -4], [8, 9, 10, 11, 12, 14, 15, 3, -4]]


# Fields in general


def test_distances_keep_no_record_for_gradients():
    fitted = field()
    fitted.correction.decoder.requires_grad_(True)
    assert not fitted.at(1.0).distance(points(20)).requires_grad


def test_a_field_goes_by_state_numbers_and_its_motion_by_times():
    fitted = field(states=3, trained=False)
    fitted.motion.kernel = replace(fitted.motion.kernel, states=np.array([1.0, 2.0, 5.0]))
    x = points(50)
    middle = fitted.at(3.5).distance(x)
    fitted.time_axis = TimeAxis([0.0, 1.0, 4.0])
    # The median gap of 2 is the unit.
    fitted.motion.kernel = replace(fitted.motion.kernel, states=np.array([1.0, 1.5, 3.0]))
    assert fitted.states == [1.0, 2.0, 3.0] and fitted.time_range == (1.0, 3.0)
    snapshot = fitted.at(2.5)
    assert snapshot.time == 2.5 and not snapshot.extrapolated
    np.testing.assert_allclose(snapshot.distance(x), middle, atol=1e-5)


def test_a_member_is_asked_for_by_its_name():
    fitted = field()
    assert Family({"a": fitted}, {}).member("a") is fitted
    with pytest.raises(ValueError, match=r"there is no trajectory 'b' in this family \(there: a\)"):
        Family({"a": fitted}, {}).member("b")


def test_reach_is_the_field_s_and_endless_where_it_is_not_known():
    fitted = field()
    assert fitted.at(1.0).reach == np.inf
    fitted.reach = 7.5
    assert fitted.at(1.0).reach == 7.5


def test_the_gradient_averages_over_its_step():
    """For a quadratic function it is exact, as the corners of a tetrahedron lie evenly about the point."""
    quadratic = Formula(lambda x: (x**2).sum(1), [[-9] * 3, [9] * 3]).at(1.0)
    for step in (0.1, 2.0):
        np.testing.assert_allclose(quadratic.gradient(points(20), step), 2 * points(20), atol=2e-3)
    corners = torch.tensor(TETRAHEDRON)
    np.testing.assert_allclose(corners @ corners.T, (4 * np.eye(4) - 1) / 3, atol=1e-6)


def test_the_box_is_around_the_atoms_or_that_of_all_points():
    extent = np.array([[-1, -2, -3], [4, 5, 6]], np.float32)
    assert scene_box(None, 3.0, extent) is extent
    atoms = np.array([[0, 0, 0], [1, 2, -3]], np.float32)
    np.testing.assert_array_equal(scene_box(atoms, 3.0, extent), [[-3, -3, -6], [4, 5, 3]])


def test_a_field_that_does_not_average_is_its_own_smoothed_one():
    plain = balls(SPHERE)
    assert plain.with_uniform_smoothing() is plain
