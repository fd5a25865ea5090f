"""The library that all consumers share: it keeps the order of each item's changes and every failed change."""

from handler.stream.aws import client
from handler.stream.change import Change, PermanentError
from handler.stream.effects import put_if_newer, transact
from handler.stream.entry import consumer
from handler.stream.processor import KeyOrderedProcessor

__all__ = ["Change", "KeyOrderedProcessor", "PermanentError", "client", "consumer", "put_if_newer", "transact"]
