"""What a program asks for and the sandbox does not imitate: it is passed over, and told in one line."""

from sandbox.program.in_process import Registration

MAX_NAMES = 3
"""Names of one kind in the line; of the others it has the number."""


class UnsupportedReport:
    """What the sandbox has not imitated of one run of a program.

    Registrations arrive on several threads, each one with what is its own; nothing is read before the run ends.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._placeholders: dict[str, tuple[str, str]] = {}  # type and name by URN
        self._uses: dict[str, list[str]] = {}  # the properties that are made of a resource that is not, by its URN
        self._others: list[tuple[str, str]] = []  # what else, and of which resource

    def add_placeholder(self, registration: Registration) -> None:
        """Take in a resource that is not made."""
        self._placeholders[registration.urn] = registration.type, registration.name

    def add_deployed(self, registration: Registration, properties: list[str]) -> None:
        """Take in a resource that is made, with the properties of it that are not imitated."""
        self._others += [(f"{registration.type} {property_}", registration.name) for property_ in properties]
        self.add_region(registration)
        for property_, dependency in registration.request.propertyDependencies.items():
            for urn in dependency.urns:
                if urn in self._placeholders:
                    self._uses.setdefault(urn, []).append(f"{registration.name}.{property_}")

    def add_region(self, registration: Registration) -> None:
        """Take in where a resource, or whatever a provider makes, is wanted: everything is in one Region."""
        region = registration.inputs.get("region", self._region)
        if region != self._region:
            self._others.append((f"another Region than {self._region}", f"{registration.name} in {region}"))

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of the resources, by their type, or by their type and property."""
        return _group([*self._placeholders.values(), *self._others])

    @property
    def line(self) -> str:
        """One line that names it all, and which property has a made-up value; empty where there is nothing."""
        uses = {urn: f" → {', '.join(sorted(used))}" for urn, used in self._uses.items()}
        placeholders = [(type_, name + uses.get(urn, "")) for urn, (type_, name) in self._placeholders.items()]
        items = [f"{what} ({_shorten(names)})" for what, names in _group([*placeholders, *self._others]).items()]
        return f"not imitated here: {', '.join(items)}" if items else ""


def _group(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for what, name in sorted(pairs):
        grouped.setdefault(what, []).append(name)
    return grouped


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
