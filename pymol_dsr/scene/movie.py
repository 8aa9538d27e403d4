"""PyMOL's movie of the loaded states: their order, the rate, the camera and the time in the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shared.messages import MeshResult
from ..shared.options import MovieOptions
from .camera import followed_views, intro_views, store_views
from .objects import SceneError
from .placement import object_matrix
from .replies import Reply, center
from .time_label import label_text, put_labels
from .timeline import MovieState, frames_per_second, mset_text, play_order


class MovieRecorder:
    """Keeps of the replies, while they are loaded, what the camera and the time label need."""

    def __init__(self, options: MovieOptions, generated: str = "") -> None:
        """Keep for a movie. generated: the origin of the fitted states where they were generated, else empty."""
        self.options, self._generated = options, generated
        # By time: f4[A,3] in the object's frame, the centre f8[3] of the surface, and the text of the label.
        self._atoms: dict[float, NDArray[np.float32]] = {}
        self._centers: dict[float, NDArray[np.float64]] = {}
        self._labels: dict[float, str] = {}

    @property
    def follows(self) -> bool:
        """Whether the camera follows the molecule."""
        return self.options.camera == "follow"

    def watch(self, movie_states: Sequence[MovieState], replies: Iterable[Reply]) -> Iterator[Reply]:
        """Pass the replies on. Raises SceneError where the camera is to follow atoms that the fit does not know."""
        for state, reply in zip(movie_states, replies, strict=False):
            if self.options.overlay:
                self._centers[state.time] = center(reply)
                self._labels[state.time] = label_text(state, reply.expected_error, self._generated)
            if self.follows:
                if not isinstance(reply, MeshResult) or reply.atoms is None:
                    raise SceneError("camera follow: this fit knows no atoms to follow; leave camera= out")
                self._atoms[state.time] = reply.atoms
            yield reply

    def show_labels(self, movie_states: Sequence[MovieState], name: str, source: str, _self: Any) -> None:
        """Load the labels of these states as the molecule `name`, placed like the molecule `source`."""
        put_labels(name, movie_states, self._labels, self._centers, source, _self)

    def set_up(self, movie_states: Sequence[MovieState], source: str, _self: Any) -> None:
        """Set up PyMOL's movie of these states of the molecule `source`, in the window's thread."""
        order = play_order(movie_states, self.options.play)
        if self.options.fps is not None:
            _self.set("movie_fps", self.options.fps)
        if self.options.play:
            _self.set("movie_loop", int(self.options.play != "once"))
        intro = self.options.intro
        before = round(self.options.intro_seconds * frames_per_second(_self)) if intro else 0
        set_movie([order[0]] * before + order, _self)
        view = _self.get_view()
        views = [list(view)] * len(order)
        if self.follows:
            views = followed_views(view, order, self._atoms, object_matrix(source, _self))
        if self.follows or intro:
            store_views(intro_views(view, intro, before) + views, _self)
        _self.frame(1)


def set_movie(movie_states: Sequence[MovieState], _self: Any) -> None:
    """Set PyMOL's movie to play these states in their order."""
    _self.mset(mset_text(movie_states))
    _self.frame(1)
