"""Builds the functions' code as one zip: handler/ and its locked dependencies."""

from infra.archive.package import Package, build

__all__ = ["Package", "build"]
