"""Errors that mean something to the caller."""

from __future__ import annotations


class RequestError(ValueError):
    """A request that can't be fulfilled.

    `code` is one of the protocol's error codes; the message says what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cancelled(Exception):
    """The job was asked to stop, and has."""
