"""The DynamoDB expressions that MemoryDynamoDB evaluates."""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple, cast

Item = dict[str, Any]
Values = Mapping[str, Any]

TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+-]|[#:]?\w+)")
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Scope(NamedTuple):
    """An item and a request's placeholders, on which an expression is evaluated."""

    item: Item
    names: Values
    values: Values

    @classmethod
    def of_request(cls, item: Item, request: Mapping[str, Any]) -> "Scope":
        """Return the scope of a request's expressions on an item."""
        return cls(item, request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {}))

    def name(self, token: str) -> str:
        """Return the attribute name of a token, which may be a placeholder."""
        return self.names[token] if token.startswith("#") else token

    def value(self, token: str) -> Any:
        """Return the value of a token in DynamoDB's JSON; None if the attribute is missing."""
        return self.values[token] if token.startswith(":") else self.item.get(self.name(token))

    def partition(self, expression: str, key: str) -> str:
        """Return the partition in a key condition such as `pk = :partition`."""
        tokens = TOKEN.findall(expression)
        place = next(at for at, token in enumerate(tokens) if token[0] != ":" and self.name(token) == key)
        return str(next(iter(self.values[tokens[place + 2]].values())))


Condition = Callable[[Scope], bool]
Operand = Callable[[Scope], Any]


def _comparable(value: Any) -> Any:
    """Return a value that Python can compare; None if it is missing."""
    if value is None:
        return None
    [(kind, content)] = value.items()
    return Decimal(content) if kind == "N" else content


def _sum(first: Operand, sign: int, second: Operand) -> Operand:
    return lambda scope: {"N": str(_comparable(first(scope)) + sign * _comparable(second(scope)))}


class _Parser:
    def __init__(self, expression: str) -> None:
        self._tokens = TOKEN.findall(expression)
        self._expression, self._at = expression, 0
        if "".join(self._tokens) != re.sub(r"\s+", "", expression):
            raise self.unknown()

    def unknown(self) -> NotImplementedError:
        return NotImplementedError(f"MemoryDynamoDB cannot evaluate {self._expression!r}")

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if not token or (expected and token.upper() not in expected):
            raise self.unknown()
        self._at += 1
        return token

    def took(self, token: str) -> bool:
        if self.peek().upper() != token:
            return False
        self._at += 1
        return True

    def condition(self) -> Condition:
        parts = [self._conjunction()]
        while self.took("OR"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda scope: any(part(scope) for part in parts)

    def _conjunction(self) -> Condition:
        parts = [self._negation()]
        while self.took("AND"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda scope: all(part(scope) for part in parts)

    def _negation(self) -> Condition:
        if self.took("NOT"):
            inner = self._negation()
            return lambda scope: not inner(scope)
        if self.took("("):
            inner = self.condition()
            self.take(")")
            return inner
        if self.peek() in ("attribute_exists", "attribute_not_exists"):
            exists, name = self.take() == "attribute_exists", self._arguments()[0]
            return lambda scope: (scope.value(name) is not None) == exists
        if self.took("BEGINS_WITH"):
            name, prefix = self._arguments()
            return lambda scope: str(_comparable(scope.value(name)) or "").startswith(_comparable(scope.value(prefix)))
        return self._comparison()

    def _arguments(self) -> list[str]:
        self.take("(")
        arguments = [self.take()]
        while self.took(","):
            arguments.append(self.take())
        self.take(")")
        return arguments

    def _comparison(self) -> Condition:
        left = self.take()
        if self.took("BETWEEN"):
            low = self.take()
            self.take("AND")
            high = self.take()
            return lambda scope: (
                scope.value(left) is not None
                and _comparable(scope.value(low)) <= _comparable(scope.value(left)) <= _comparable(scope.value(high))
            )
        compare, right = COMPARISONS[self.take(*COMPARISONS)], self.take()

        def holds(scope: Scope) -> bool:
            one, other = _comparable(scope.value(left)), _comparable(scope.value(right))
            return one is not None and other is not None and compare(one, other)

        return holds

    def update(self) -> Iterator[Callable[[Scope, Item], None]]:
        while self.peek():
            match self.take("SET", "REMOVE", "ADD").upper():
                case "SET":
                    yield from self._listed(self._assignment)
                case "REMOVE":
                    yield from self._listed(self._removal)
                case _:
                    yield from self._listed(self._addition)

    def _listed(self, one: Callable[[], Callable[[Scope, Item], None]]) -> Iterator[Callable[[Scope, Item], None]]:
        yield one()
        while self.took(","):
            yield one()

    def _assignment(self) -> Callable[[Scope, Item], None]:
        name = self.take()
        self.take("=")
        value = self._operand()
        if self.peek() in ("+", "-"):
            value = _sum(value, 1 if self.take() == "+" else -1, self._operand())
        return lambda scope, item: item.update({scope.name(name): value(scope)})

    def _operand(self) -> Operand:
        token = self.take()
        if token != "if_not_exists":  # noqa: S105 - a function of DynamoDB's
            return lambda scope: scope.value(token)
        name, default = self._arguments()
        return lambda scope: scope.value(default) if scope.value(name) is None else scope.value(name)

    def _removal(self) -> Callable[[Scope, Item], None]:
        name = self.take()
        return lambda scope, item: cast(None, item.pop(scope.name(name), None))

    def _addition(self) -> Callable[[Scope, Item], None]:
        name, value = self.take(), self.take()

        def add(scope: Scope, item: Item) -> None:
            before = _comparable(item.get(scope.name(name))) or Decimal(0)
            item[scope.name(name)] = {"N": str(before + _comparable(scope.value(value)))}

        return add


@cache
def parse_condition(expression: str) -> Condition:
    """Parse a condition or key condition. Raises NotImplementedError."""
    parser = _Parser(expression)
    condition = parser.condition()
    if parser.peek():
        raise parser.unknown()
    return condition


@cache
def parse_update(expression: str) -> Callable[[Scope], Item]:
    """Parse an update expression into a function that returns the updated item. Raises NotImplementedError."""
    steps = list(_Parser(expression).update())

    def update(scope: Scope) -> Item:
        item = dict(scope.item)
        for step in steps:
            step(scope, item)
        return item

    return update
