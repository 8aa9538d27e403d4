"""Errors with a meaning for the caller."""

from __future__ import annotations


class RequestError(ValueError):
    """A request that can't be carried out.

    `code` is one of the protocol's error codes; the message says what to do next.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cancelled(Exception):
    """The job was cancelled by its caller and has stopped."""
