"""Evaluates IAM policy documents: the actions that a document allows, and statements that are wider than necessary.

A document is an object or its JSON text. Parts of it may be `Unknown`: they break no rule, and match a resource by the
URNs that they are made of. Standard library only, since the policy pack has an environment of its own.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from infra.rules.view import Unknown, as_strings

TABLE_WRITES = [
    *(f"dynamodb:{call}" for call in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem")),
    *(f"dynamodb:PartiQL{call}" for call in ("Insert", "Update", "Delete")),
]
"""Actions that write items (IAM policies with PartiQL). AWS authorises a transaction by those of its parts."""

NAME_FIRST_SERVICES = {"codecommit", "codepipeline", "execute-api", "neptune-db", "s3", "sns", "sqs"}
"""Services whose ARNs begin with the resource's name. Those of other services begin with its type, as in table/NAME."""

WIDE_AWS_POLICY = re.compile(
    r"arn:[\w-]+:iam::aws:policy/(?:.*/)?(.*(?:FullAccess|ReadOnly|Administrator|PowerUser).*)"
)
"""AWS managed policies that allow all actions of a service, or all its reads, on every resource in the account."""

RESOURCE_KEYS = re.compile(
    r"[\w-]+:resourcetag/.+"  # only resources with the tag
    r"|kms:(viaservice|requestalias|resourcealiases|encryptioncontext:.+)"  # only keys used in this way
    r"|ses:fromaddress|cloudwatch:namespace|lambda:functionarn"  # only the sender, namespace or function
)
"""Condition keys that restrict a statement to certain resources.

`aws:SecureTransport`, `aws:RequestedRegion`, `aws:MultiFactorAuthPresent` and `aws:CalledVia` say how a call is made.
`aws:ResourceAccount` and `aws:ResourceOrgID` leave everything in the account. `iam:PassedToService` and `sns:Protocol`
say where something goes. `dynamodb:LeadingKeys` and `s3:prefix` choose items and objects within any table and bucket.
`aws:SourceArn` and `aws:SourceAccount` are about a service that calls, which a role is not.
"""

CALLER_KEYS = re.compile(
    r"aws:(source(account|arn|owner|orgid|orgpaths|vpc|vpce|ip)|vpce(account|orgid|orgpaths)"
    r"|principal(account|arn|orgid|orgpaths|servicename)|userid)|s3:dataaccesspoint(account|arn)"
)
"""Condition keys that restrict the caller (S3: the meaning of "public", November 2026).

`aws:ResourceAccount` and `s3:ResourceAccount` are the account of the resource, not of the caller. An account gives its
own principals any name and tag, so `aws:PrincipalTag` and `aws:username` restrict nobody.
"""

BINDING_OPERATORS = re.compile(r"(foranyvalue:)?(string(equals|equalsignorecase|like)|arn(equals|like)|ipaddress)")
"""Operators that require one of the values. Negated ones, IfExists and ForAllValues are also true without the key."""

ON_ALL = "OnAll"
"""The prefix of the Sid of a statement that `infra.grants.everywhere` makes: AWS supports no narrower resource for its
actions, for example for sns:Publish to a phone number."""

WILDCARD = re.compile("[*?]")
VARIABLE = re.compile(r"\$\{[^}]*\}")


def matches(pattern: str, text: str) -> bool:
    """Return whether IAM's pattern matches: `*` is any text, `?` any character, all others match themselves."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def statements(document: object) -> list[Mapping[str, Any]]:
    """Return the statements of a document, with element names in lower case. Return none if it is unknown or not JSON.

    Typed dictionaries of pulumi_aws reach the engine in AWS's capitals or in their own (`Statement`, `statement`).
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []  # AWS refuses the document with a better message
    return [lowered for each in _elements(_lower_keys(document).get("statement")) if (lowered := _lower_keys(each))]


def allowed_on(document: object, actions: Sequence[str]) -> Callable[..., bool]:
    """Return a function that takes a resource's names and returns whether the document allows any of `actions` on it.

    In doubt the result is True: the conditions of an Allow count as met, and a variable (`${aws:PrincipalTag/team}`)
    matches any text. A Deny counts only if it has no condition, no variable and no unknown part.
    """

    def with_calls(effect: str) -> Iterator[tuple[Mapping[str, Any], set[str]]]:
        for each in statements(document):
            calls = {action for action in actions if _element_matches(each, "action", str.lower, action.lower())}
            if each.get("effect") == effect and calls:
                yield each, calls

    allows = list(with_calls("Allow"))
    denies = [(each, calls) for each, calls in with_calls("Deny") if _is_certain(each)]

    def is_allowed_on(*names: str) -> bool:
        denied = {call for each, calls in denies if _applies_to(each, *names) for call in calls}
        return any(calls - denied and _applies_to(each, *names) for each, calls in allows)

    return is_allowed_on


def too_wide(document: object) -> Iterator[str]:
    """Say where a role's document allows more than named actions on named resources, and what to do instead.

    A statement whose Sid begins with ON_ALL names actions that its author accepts on every resource. A Deny changes
    nothing.
    """
    for each in (each for each in statements(document) if each.get("effect") == "Allow"):
        actions = as_strings(each.get("action"))
        if broad := [action for action in actions if WILDCARD.search(action)]:
            yield (
                f"Action {', '.join(broad)}: a wildcard allows calls that the role never makes, and calls that AWS "
                "adds later; name each call"
            )
        for element in ("Action", "Resource"):
            if f"not{element.lower()}" in each:
                listed = [str(one) for one in as_strings(each[f"not{element.lower()}"])] or ["(known after the update)"]
                yield (
                    f"Not{element} {', '.join(listed)}: an Allow by Not{element} covers everything that it does not "
                    f"list; name by {element} what the role needs"
                )
        wide = [resource for resource in as_strings(each.get("resource")) if _names_nothing(resource)]
        narrowable = [action for action in actions if not _takes_all_resources_only(action)]
        accepted = str(each.get("sid", "")).startswith(ON_ALL) and not broad
        if wide and narrowable and not accepted and not _is_bound(each.get("condition"), RESOURCE_KEYS, _names_nothing):
            exact = ", ".join(f'"{action}"' for action in narrowable if action not in broad)
            way_out = f", or accept them with everywhere({exact}), if AWS supports no narrower resource for the call"
            yield (
                f"{', '.join(narrowable)} on {', '.join(wide)}: the role may use every such resource of the account; "
                f"name the resources{way_out if exact else ''}"
            )


def managed_too_wide(arn: object) -> str | None:
    """Say that an AWS managed policy, by its ARN, allows too much. Return None if its name does not say so."""
    wide = WIDE_AWS_POLICY.fullmatch(arn) if isinstance(arn, str) else None
    return wide and (
        f"{wide[1]}: AWS's own policy covers a whole kind of calls on every resource of the account; name the calls "
        "and their resources in a policy of your own"
    )


def open_to_everybody(document: object) -> Iterator[str]:
    """Say which actions the policy of a resource allows to everybody, and what to do instead."""
    for each in (each for each in statements(document) if each.get("effect") == "Allow"):
        who: object = each.get("principal")
        named = [name for kind in (_lower_keys(who).values() or [who]) for name in as_strings(kind)]
        if ("notprincipal" in each or "*" in named) and not _is_bound(
            each.get("condition"), CALLER_KEYS, _names_nobody
        ):
            actions = (
                ", ".join(as_strings(each.get("action"))) or f"all but {', '.join(as_strings(each.get('notaction')))}"
            )
            yield (
                f"{actions} allowed to everybody: any AWS account can read items or write forged items there; name the "
                "principals, or restrict the callers by aws:SourceAccount, aws:SourceArn or aws:PrincipalOrgID"
            )


def _lower_keys(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    return {name.replace("_", "").lower(): each for name, each in cast("Mapping[str, Any]", value).items()}


def _elements(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _element_matches(statement: Mapping[str, Any], element: str, pattern: Callable[[str], str], *names: str) -> bool:
    """Return whether the element matches one of the names, or its negation matches none."""
    negated = f"not{element}" in statement
    return negated != any(
        name in entry.origins if isinstance(entry, Unknown) else matches(pattern(str(entry)), name)
        for entry in _elements(statement.get(f"not{element}" if negated else element))
        for name in names
    )


def _applies_to(statement: Mapping[str, Any], *names: str) -> bool:
    return _element_matches(statement, "resource", partial(VARIABLE.sub, "*"), *names)


def _is_certain(statement: Mapping[str, Any]) -> bool:
    """Return whether a statement has no unknown part and applies to every caller."""
    parts = [part for value in statement.values() for part in _elements(value)]
    return all(isinstance(part, str) and not VARIABLE.search(part) for part in parts)


def _names_nothing(resource: str) -> bool:
    """Return whether an ARN pattern matches every resource of a service or of a type."""
    if resource.count(":") < 5:
        return bool(WILDCARD.search(resource))
    _, _, service, _, _, path = resource.split(":", 5)
    kind = "" if service in NAME_FIRST_SERVICES else "/?[^:/*?]+[:/]"
    return bool(WILDCARD.search(path)) and not re.match(f"{kind}[^*?]", path)


def _names_nobody(arn: str) -> bool:
    """Return whether an ARN pattern matches any account: it has a wildcard there, or it is any bucket."""
    account, path = arn.split(":", 5)[4:] if arn.count(":") > 4 else ("*", "")
    return bool(WILDCARD.search(account)) or (not account and bool(WILDCARD.match(path)))


def _is_bound(condition: object, keys: re.Pattern[str], leaves_open: Callable[[str], bool]) -> bool:
    """Return whether a condition requires certain values of one of `keys`, or is not known yet."""
    tests = _lower_keys(condition)

    def chosen(value: object) -> bool:
        text = str(value)
        is_open = leaves_open(text) if text.startswith("arn:") else text.strip("*?") in ("", "0.0.0.0/0", "::/0")
        return isinstance(value, Unknown) or not is_open

    return any(isinstance(each, Unknown) for each in (condition, *tests.values())) or any(
        BINDING_OPERATORS.fullmatch(operator) and keys.fullmatch(key) and all(map(chosen, _elements(values)))
        for operator, wanted in tests.items()
        for key, values in _lower_keys(wanted).items()
    )


def _takes_all_resources_only(action: str) -> bool:
    service, _, call = action.lower().partition(":")
    calls = _unscoped().get(service, frozenset())
    return call in calls or "*" in calls


@cache
def _unscoped() -> Mapping[str, frozenset[str]]:
    """Return, by service, the actions that AWS authorises on `*` only; `*` if these are all actions of the service."""
    # tests/infra/rules/service_reference.py makes this file.
    file = json.loads(Path(__file__).with_name("unscoped.json").read_text(encoding="utf-8"))
    return {service: frozenset(calls) for service, calls in file["services"].items()}
