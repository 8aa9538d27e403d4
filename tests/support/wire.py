"""The backend's methods, called as its server calls them, without a process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dsr_backend.runtime.errors import RequestError
from dsr_backend.server.job import Job
from dsr_backend.server.worker import Worker
from dsr_backend.surfaces.surface import Surface

from pymol_dsr.shared import messages


class Wire:
    """A worker as the server drives it, with the events it sends."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.events: list[messages.Event] = []

    def restarted(self) -> Wire:
        """A new worker after the end of this one's process, which releases its locks."""
        self.worker.state.pending.close()
        return Wire()

    def send_event(self, event: messages.Event) -> None:
        self.events.append(event)

    def job(self, method: str, params: dict[str, Any], arrays: Any = None) -> Job:
        return Job(1, method, params, arrays or {}, self)

    def call(self, method: str, arrays: Any = None, **params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # As JSON would bring it.
        params = json.loads(json.dumps(params))
        result, out = self.worker.methods[method](self.job(method, params, arrays))
        return result, out

    def send(self, fit: str, series: list[Surface], **target: str) -> None:
        for surface in series:
            arrays = {name: getattr(surface, name) for name in ("points", "normals", "faces", "atoms")}
            self.call(
                "surface", {k: v for k, v in arrays.items() if v is not None}, fit=fit, state=surface.state, **target
            )

    def refused(self, method: str, arrays: Any = None, **params: Any) -> str:
        with pytest.raises(RequestError) as caught:
            self.call(method, arrays, **params)
        assert caught.value.code == "bad-request" and "\n" not in str(caught.value)
        return str(caught.value)

    def logged(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, messages.Log)]
