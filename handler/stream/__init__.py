"""What consumers share: changes in each item's order, each effect once, failures kept whole."""

from handler.stream.change import Change, PermanentError
from handler.stream.entry import consumer
from handler.stream.processor import KeyOrderedProcessor

__all__ = ["Change", "KeyOrderedProcessor", "PermanentError", "consumer"]
