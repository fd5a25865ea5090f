"""What consumers share: changes in each item's order, each effect once, failures kept whole."""

from handler.stream.aws import client
from handler.stream.change import Change, PermanentError
from handler.stream.effects import put_if_newer, transact
from handler.stream.entry import consumer
from handler.stream.processor import KeyOrderedProcessor

__all__ = ["Change", "KeyOrderedProcessor", "PermanentError", "client", "consumer", "put_if_newer", "transact"]
