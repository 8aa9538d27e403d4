"""The gate: what is a transition, what is no time series, and which method it takes."""

import numpy as np
import pytest
from dsr_backend.sources import gate
from dsr_backend.sources.continuation import History

from support.molecules import helix

BODY = helix(8)
TRACE = np.arange(len(BODY))
STRETCH = 0.01 * (BODY - BODY.mean(0))


def noise(count, size, seed=3):
    return size * np.random.default_rng(seed).normal(size=(count, *BODY.shape))


def opening(count, size=0.05):
    return BODY + np.arange(count)[:, None, None] * STRETCH + noise(count, size)


def walk(count, seed):
    return BODY + np.cumsum(noise(count, 0.05, seed), 0)


def verdict(states, frames=20, other_trajectories=(), replicas=1):
    return gate.choose_continuation(
        History.of(states, TRACE, other_trajectories), frames, 0, lambda: None, lambda fraction: None, replicas
    )


def test_drift_over_fluctuation_tells_a_transition_from_noise():
    assert gate.drift_ratio(opening(50), TRACE) > 2 * gate.DRIFT
    assert gate.drift_ratio(BODY + noise(50, 0.3), TRACE) < 0.5 * gate.DRIFT
    assert gate.drift_ratio(np.repeat(BODY[None], 5, 0), TRACE) == 0.0


def test_memory_tells_a_time_series_from_models():
    assert gate.memory(opening(50), TRACE) > 0.9
    assert abs(gate.memory(BODY + noise(200, 0.3), TRACE)) < gate.UNORDERED
    assert gate.memory(np.repeat(BODY[None], 5, 0), TRACE) == 1.0
    assert np.isnan(gate.memory(opening(3), TRACE))


def test_a_steady_opening_is_not_held():
    choice = verdict(opening(60))
    assert choice.transition and choice.name != "hold"
    rows = {row.method: row.scores for row in choice.table}
    assert rows[choice.name]["RMSD +20 (A)"] < 0.5 * rows["hold"]["RMSD +20 (A)"]
    assert [row.method for row in choice.table if row.chosen] == [choice.name]


def test_an_opening_that_ends_in_the_known_states_is_held():
    states = np.concatenate([opening(50, 0.0), np.repeat(opening(50, 0.0)[-1:], 30, 0)]) + noise(80, 0.02)
    assert verdict(states).name in ("hold", "damped")


@pytest.mark.parametrize("seed", range(5))
def test_random_walks_are_held(seed):
    assert verdict(walk(60, seed)).name in ("hold", "damped")


def test_one_continuation_of_a_stationary_trajectory_is_held():
    choice = verdict(BODY + noise(80, 0.3))
    assert not choice.transition and not choice.draws and choice.name == "hold"
    assert all(set(row.scores) == {"RMSD +10 (A)", "RMSD +20 (A)", "step (A)"} for row in choice.table)


def test_several_are_scored_as_an_ensemble_and_not_drawn_without_memory():
    choice = verdict(BODY + noise(80, 0.3), replicas=5)
    assert not choice.transition
    rows = {row.method: row.scores for row in choice.table}
    assert rows["bootstrap"]["energy score +10 (A)"] < rows["hold"]["energy score +10 (A)"]
    assert choice.name not in gate.WITHOUT_MEMORY


def test_few_states_are_tested_with_few_methods():
    assert {row.method for row in verdict(opening(gate.FEW_STATES - 1), 5).table} == {"hold", "straight", "drift"}
    untested = verdict(opening(2), 1)
    assert untested.name == "hold" and untested.notes == ("2 states leave none to hold out: hold was taken untested",)


def test_a_linear_rule_must_be_far_better_than_the_drift_at_each_lead():
    def best(straight, drifts=True):
        scores = {"hold": 2.0, "drift": 1.0, "straight": straight, "damped": 0.1}
        return gate.best_method({name: {10: [score], 20: [1.5 * score]} for name, score in scores.items()}, drifts, ())

    assert best(0.9 * gate.DRIFT_MARGIN) == "straight"
    assert best(1.1 * gate.DRIFT_MARGIN) == "drift"
    assert best(0.1, drifts=False) == "hold"


def test_only_states_before_the_origin_are_known_to_a_method(monkeypatch):
    known_counts = []

    def peek(history, frames, rng):
        known_counts.append(len(history.states))
        return np.repeat(history.states[-1:], frames, 0)

    monkeypatch.setattr(gate, "candidates", lambda history, draws: {"hold": peek, "drift": peek})
    verdict(opening(50))
    # Held out are the last ten; 20 and 10 ahead of the origins.
    assert min(known_counts) == 40 - 20 + 1 and max(known_counts) == 49 - 10 + 1


def test_other_trajectories_offer_analogs_and_a_longer_horizon():
    long = opening(90, 0.01)
    choice = verdict(opening(30), 20, [long])
    assert "analog" in {row.method for row in choice.table}
    assert choice.horizon == 90 - gate.MIN_HISTORY and verdict(opening(30)).horizon == 30 - gate.MIN_HISTORY
    assert gate.allowed_horizon([20]) == 20
