"""The version of both packages."""

VERSION = "0.3.0"
