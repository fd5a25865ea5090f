"""Reports in one line what a program uses and the sandbox does not support."""

from sandbox.program.in_process import Registration

MAX_NAMES = 3
"""The number of names that the line has of each kind; it counts the others."""


OBSERVING = frozenset(
    f"aws:cloudwatch/{kind}"
    for kind in ("metricAlarm:MetricAlarm", "compositeAlarm:CompositeAlarm", "dashboard:Dashboard")
)
"""Types of which a program has many, and whose absence changes nothing: the line has no names of theirs."""


class UnsupportedReport:
    """The features of one run of a program that the sandbox does not support.

    Several threads add resources during the run; the report is read after the run only.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._placeholders: dict[str, tuple[str, str]] = {}  # type and name by URN
        self._uses: dict[str, list[str]] = {}  # the properties that depend on a placeholder, by its URN
        self._others: list[tuple[str, str]] = []  # a type's property or a Region, with the resource's name

    def add_placeholder(self, registration: Registration) -> None:
        """Add a resource that a placeholder replaces."""
        self._placeholders[registration.urn] = registration.type, registration.name

    def add_deployed(self, registration: Registration, properties: list[str]) -> None:
        """Add the unsupported properties of a resource, and its properties that depend on placeholders."""
        self._others += [(f"{registration.type} {property_}", registration.name) for property_ in properties]
        self.add_region(registration)
        for property_, urns in registration.property_dependencies.items():
            for urn in urns:
                if urn in self._placeholders:
                    self._uses.setdefault(urn, []).append(f"{registration.name}.{property_}")

    def add_region(self, registration: Registration) -> None:
        """Add the Region of a resource or of a provider, if it is another than the sandbox's only Region."""
        region = registration.inputs.get("region", self._region)
        if region != self._region:
            self._others.append((f"another Region than {self._region}", f"{registration.name} in {region}"))

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of resources, by type, or by type and property."""
        return _group([*self._placeholders.values(), *self._others])

    @property
    def line(self) -> str:
        """One line with the names and the properties that have invented values; empty if everything is supported."""
        uses = {urn: f" → {', '.join(sorted(used))}" for urn, used in self._uses.items()}
        placeholders = [(type_, name + uses.get(urn, "")) for urn, (type_, name) in self._placeholders.items()]
        others = [each for each in placeholders if each[0] not in OBSERVING]
        items = ["alarms and dashboards"] if len(others) < len(placeholders) else []
        items += [f"{what} ({_shorten(names)})" for what, names in _group([*others, *self._others]).items()]
        return f"not supported in the sandbox: {', '.join(items)}" if items else ""


def _group(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for what, name in sorted(pairs):
        grouped.setdefault(what, []).append(name)
    return grouped


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
