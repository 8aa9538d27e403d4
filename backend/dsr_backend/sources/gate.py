"""The gate: which method may continue, fill in or sample a user's states, decided on states that are held out.

Continuing: each method predicts the last fifth of the states from those before. One continuation is scored by RMSD at
two leads. It goes on by the drift, as far as the latest steps bear it out, and where they do not, the last state is
held. A linear rule must be far better in the test to be taken; other trajectories of the same atoms are followed if
theirs is better. Several continuations of a *stationary* trajectory, which does not drift by more than twice its
fluctuation, are scored by their energy score. Holding the last state is in every table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pymol_dsr.shared.messages import BackTestRow
from pymol_dsr.shared.spacing import evenly_spaced

from ..motion import statistics
from ..motion.superpose import superpose_states
from . import continuation
from .continuation import History, Method, States
from .drift import drift_fraction

HELD_OUT = 0.2
"""Fraction of the states, the last ones, that methods are tested on."""
TESTED = 0.5
"""Progress of a task once its methods are tested: that takes longest, and the projection is what is left."""
LEADS = (10, 20)
"""States ahead that decide, where there are so many."""
LONG_LEAD = 40
TARGETS = 6
"""Held-out states that a lead is tested at, at most."""
MIN_HISTORY = 3
"""Known states before an origin of a test, at least."""
HORIZON_SLACK = 1.2
"""Factor by which a request may go beyond the longest tested lead."""
FEW_STATES = 20
"""States below which only holding and straight lines are tested."""
DRIFT = 2.0
"""Drift over fluctuation from which the states are a transition."""
UNORDERED = 0.2
"""Autocorrelation at one gap below which states are no time series."""
REQUIRED_GAIN = 0.98
"""Factor of the score of holding that another method must reach."""
WORST_LOSS = 1.05
"""Factor of the score of holding that another method may reach at one of the leads."""
ENSEMBLE = 12
"""Continuations of a method that draws, in a test."""
LINEAR_MODEL_STATES = 40
"""States below which dmd and ar are not tested: from 21 states of a DIMS path dmd passed, and then lost by 27 %."""
DRIFT_MARGIN = 0.7
"""Factor of the error of drift, at each lead, that the next methods must reach. On smooth paths they do. Elsewhere a
back-test has too few origins to choose by: with 0.9 on the mean, dmd and straight lost up to 190 % on paths by GOdMD.
Chosen on paths of AdK by twelve methods, other ones than the scored one."""
SAME_STATES = ("straight", "dmd", "ar")
STOCHASTIC = ("analog", "ou", "gaussian", "bootstrap")
STILL = 1e-4
"""Å. Motion below it is rounding."""
WITHOUT_MEMORY = ("gaussian", "bootstrap")
"""Methods that jump away from the last state: in the table, but no continuation that the gate takes."""
PLANE = 3
"""Principal components that energy scores are computed in."""


@dataclass(frozen=True)
class Verdict:
    """The decision of the gate: the method with its name, the table, and the longest lead that it was tested at.

    draws: whether the continuations draw random numbers, and were scored by their energy score. notes: for the user.
    """

    name: str
    method: Method
    table: tuple[BackTestRow, ...]
    horizon: int
    transition: bool
    draws: bool = False
    notes: tuple[str, ...] = ()


def drift_ratio(states: States, trace: NDArray[np.int64]) -> float:
    """Return how far states f[S,A,3] drift over how much they fluctuate.

    Drift: RMSD between the means of the first and the last fifth. Fluctuation: RMSD of states from the mean of their
    fifth, as a mean over fifths. Infinite without fluctuation.
    """
    aligned = superpose_states(states, states[-1], trace)[:, trace]
    fifths = np.array_split(aligned, min(5, len(aligned)))
    means = [fifth.mean(0) for fifth in fifths]
    drift = float(statistics.rmsd_to(means[-1][None], means[0])[0])
    fluctuation = np.mean(
        [np.sqrt(((fifth - mean) ** 2).sum(2).mean()) for fifth, mean in zip(fifths, means, strict=True)]
    )
    if drift <= STILL:
        return 0.0
    return drift / float(fluctuation) if fluctuation > STILL else float("inf")


def memory(states: States, trace: NDArray[np.int64]) -> float:
    """Return the autocorrelation of states f[S,A,3] at one gap; 1 where they do not vary, NaN for fewer than 4."""
    if len(states) < 4:
        return float("nan")
    value = float(statistics.autocorrelation([states[:, trace]], [1])[0])
    return 1.0 if np.isnan(value) else value


def tested_horizon(lengths: Sequence[int]) -> int:
    """Return the longest lead that trajectories of these numbers of states can be tested at."""
    return max(0, max(lengths) - MIN_HISTORY)


def allowed_horizon(lengths: Sequence[int]) -> int:
    """Return how many states ahead may be asked for."""
    return int(HORIZON_SLACK * tested_horizon(lengths))


def candidates(history: History, draws: bool) -> dict[str, Method]:
    """Return the methods to test on a history, by their names in the table.

    Methods that draw are for several continuations: one alone is as wrong as the molecule fluctuates.
    """
    enough = len(history.states) >= FEW_STATES
    names = ["hold", "straight", "drift"]
    if enough:
        names += ["damped", *(STOCHASTIC if draws else ())]
    if len(history.states) >= LINEAR_MODEL_STATES:
        names += ["dmd", "ar"]
    if history.others and "analog" not in names:
        names.append("analog")
    return {name: continuation.METHODS[name] for name in names}


def choose_continuation(
    history: History,
    frames: int,
    seed: int,
    check: Callable[[], None],
    progress: Callable[[float], None],
    replicas: int = 1,
) -> Verdict:
    """Return the verdict on continuing a history by `frames` states, once or in several `replicas`.

    check: called between tests, may raise. progress: called with a fraction of 1.
    """
    transition = drift_ratio(history.states, history.trace) > DRIFT
    draws = replicas > 1 and not transition
    leads = _leads(len(history.states), frames)
    if leads:
        fraction = drift_fraction(history.states, history.trace)
        scores = _back_test(history, leads, draws, seed, check, progress)
        deciding = [lead for lead in leads if lead != LONG_LEAD] or leads
        tests = {name: {lead: by_lead[lead] for lead in deciding} for name, by_lead in scores.errors.items()}
        chosen = best_method(tests, fraction > 0.0, STOCHASTIC if draws else ("analog",))
        unit, kind = "energy score" if draws else "RMSD", "a transition" if transition else "stationary"
        table = _table(scores, chosen, unit)
        notes = [f"the states are {kind}, scored by {unit} on the held-out last fifth; {chosen} was taken"]
        if chosen == "drift":
            notes.append(f"the latest steps bear out {100 * fraction:.0f} % of their drift: the states go on that far")
        horizon = tested_horizon([len(history.states), *map(len, history.others)])
    else:
        chosen, horizon = "hold", 0
        table = (BackTestRow(chosen, {}, chosen=True, note="too few states for a test"),)
        notes = [f"{len(history.states)} states leave none to hold out: hold was taken untested"]
    method = continuation.METHODS[chosen]
    return Verdict(chosen, method, table, horizon, transition, draws and chosen in STOCHASTIC, tuple(notes))


@dataclass(frozen=True)
class _Scores:
    """Outcome of a back-test, by method. errors: at each lead, of each test, Å. steps: of each test, Å RMSD."""

    errors: dict[str, dict[int, list[float]]]
    steps: dict[str, list[float]]


def _back_test(
    history: History,
    leads: Sequence[int],
    draws: bool,
    seed: int,
    check: Callable[[], None],
    progress: Callable[[float], None],
) -> _Scores:
    """Score each candidate at each lead, from some known states on. draws: by energy scores, otherwise by RMSD."""
    methods = candidates(history, draws)
    targets = {lead: _origins(len(history.states), lead) for lead in leads}
    origins = sorted({origin for values in targets.values() for origin in values})
    scores = _Scores({name: {lead: [] for lead in leads} for name in methods}, {name: [] for name in methods})
    for number, origin in enumerate(origins):
        known = history.until(origin + 1)
        plane = statistics.PrincipalPlane.of(known.states[:, known.trace], PLANE)
        for name, method in methods.items():
            check()
            drawn = _continuations(method, known, max(leads), draws and name in STOCHASTIC, seed)
            step = statistics.step_rmsd(np.concatenate([known.states[-1:], drawn[0]])[:, known.trace])
            scores.steps[name].append(step)
            for lead in leads:
                if origin in targets[lead]:
                    truth = history.states[origin + lead][history.trace]
                    ahead = drawn[:, lead - 1][:, known.trace]
                    scores.errors[name][lead].append(_energy(ahead, truth, plane) if draws else _rmsd(ahead, truth))
        progress((number + 1) / len(origins))
    return scores


def _table(scores: _Scores, chosen: str, unit: str) -> tuple[BackTestRow, ...]:
    """Return the rows of all methods. unit: of the scores, for people."""
    return tuple(
        BackTestRow(
            name,
            {
                **{f"{unit} +{lead} (A)": float(np.mean(values)) for lead, values in errors.items()},
                "step (A)": float(np.mean(scores.steps[name])),
            },
            chosen=name == chosen,
            note=f"{len(scores.steps[name])} origins" if name == chosen else "",
        )
        for name, errors in scores.errors.items()
    )


def _leads(count: int, frames: int) -> list[int]:
    """Return the leads to test `count` states at, for a request of `frames` states."""
    longest = count - MIN_HISTORY
    leads = [lead for lead in (*LEADS, LONG_LEAD) if lead <= min(longest, max(frames, LEADS[0]))]
    if not leads and longest >= 1:
        leads = [longest]
    return leads


def _origins(count: int, lead: int) -> list[int]:
    """Return the states, from 0, from which held-out states `lead` ahead are predicted."""
    held = max(1, round(HELD_OUT * count))
    first = max(count - held, MIN_HISTORY - 1 + lead)
    return [target - lead for target in evenly_spaced(range(first, count), TARGETS)]


def _continuations(method: Method, known: History, frames: int, drawn: bool, seed: int) -> NDArray[np.float64]:
    """Return continuations f8[N,F,A,3] of a method: several where it draws, otherwise its mean alone."""
    if not drawn:
        return method(known, frames, None)[None]
    return np.stack([method(known, frames, np.random.default_rng([seed, k])) for k in range(ENSEMBLE)])


def _rmsd(ahead: States, truth: States) -> float:
    return float(statistics.rmsd_to(ahead, truth).mean())


def _energy(ahead: States, truth: States, plane: statistics.PrincipalPlane) -> float:
    """Return the energy score (Å RMSD) of states f8[N,K,3] for a true one in the plane."""
    score = statistics.energy_score(plane.project(ahead), plane.project(truth[None])[0])
    return score / float(np.sqrt(truth.shape[0]))


def best_method(tests: Mapping[str, Mapping[int, list[float]]], drifts: bool, others: Sequence[str]) -> str:
    """Return the method to take: hold, or drift where the latest steps `drifts`, unless another one is better.

    tests: scores by method and lead. Methods of the same states must be far better than drift at each lead. `others`,
    which know or draw more, must gain enough on holding, and more than one standard error over the tests, and lose at
    no lead.
    """
    means = {name: {lead: float(np.mean(values)) for lead, values in by.items()} for name, by in tests.items()}
    held = {lead: max(mean, statistics.STILL) for lead, mean in means["hold"].items()}

    def ratios(name: str, to: Mapping[int, float]) -> list[float]:
        return [means[name][lead] / max(to[lead], statistics.STILL) for lead in held]

    best = "hold"
    if drifts:
        far_better = [m for m in SAME_STATES if m in means and max(ratios(m, means["drift"])) < DRIFT_MARGIN]
        best = min(far_better, key=lambda name: sum(ratios(name, held)), default="drift")
    for name in others:
        if name not in tests or name in WITHOUT_MEMORY:
            continue
        gains = np.concatenate([np.subtract(tests["hold"][lead], tests[name][lead]) for lead in held])
        certain = gains.mean() > gains.std() / np.sqrt(len(gains))
        loses = max(ratios(name, held)) > WORST_LOSS
        ratio, limit = float(np.mean(ratios(name, held))), min(REQUIRED_GAIN, float(np.mean(ratios(best, held))))
        if certain and not loses and ratio < limit:
            best = name
    return best
