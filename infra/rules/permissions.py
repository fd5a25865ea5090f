"""The one evaluator of IAM rights: what a policy document allows, and where it allows more than it needs to.

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
"""Actions that write items (DynamoDB: IAM policies with PartiQL). A transaction is authorised by those of its parts."""

NAME_FIRST_SERVICES = {"codecommit", "codepipeline", "execute-api", "neptune-db", "s3", "sns", "sqs"}
"""Services whose ARNs have the resource's name where others have its type, as in table/NAME (service reference)."""

WIDE_AWS_POLICY = re.compile(
    r"arn:[\w-]+:iam::aws:policy/(?:.*/)?(.*(?:FullAccess|ReadOnly|Administrator|PowerUser).*)"
)
"""AWS's own policies that allow all calls of a service, or all that read, on everything in the account."""

RESOURCE_KEYS = re.compile(
    r"[\w-]+:resourcetag/.+"  # only the resources that bear the tag
    r"|kms:(viaservice|requestalias|resourcealiases|encryptioncontext:.+)"  # only the key of what is stored or named
    r"|ses:fromaddress|cloudwatch:namespace|lambda:functionarn"  # only this sender, this namespace, this function
)
"""Condition keys that narrow which resource is used.

`aws:SecureTransport`, `aws:RequestedRegion`, `aws:MultiFactorAuthPresent` and `aws:CalledVia` say how a call is made.
`aws:ResourceAccount` and `aws:ResourceOrgID` leave everything in the account. `iam:PassedToService` and `sns:Protocol`
say where something goes. `dynamodb:LeadingKeys` and `s3:prefix` choose items and objects within any table and bucket.
`aws:SourceArn` and `aws:SourceAccount` are about a service that calls, which a role is not.
"""

CALLER_KEYS = re.compile(
    r"aws:(source(account|arn|owner|orgid|orgpaths|vpc|vpce|ip)|vpce(account|orgid|orgpaths)"
    r"|principal(account|arn|orgid|orgpaths|servicename)|userid)|s3:dataaccesspoint(account|arn)"
)
"""Condition keys that bind the caller (S3: the meaning of "public"; looked up in November 2026).

`aws:ResourceAccount` and `s3:ResourceAccount` are the account of the resource itself, whoever calls. An account gives
its own principals the names and tags that it likes, so `aws:PrincipalTag` and `aws:username` bind nobody.
"""

BINDING_OPERATORS = re.compile(r"(foranyvalue:)?(string(equals|equalsignorecase|like)|arn(equals|like)|ipaddress)")
"""Operators that ask for the values given. Negated ones, IfExists and ForAllValues also hold without the key (IAM)."""

ON_ALL = "OnAll"
"""How the Sid of a statement begins that allows its actions on every resource, since AWS has no narrower form for what
is called, as sns:Publish to a telephone number (`infra.grants.everywhere`)."""

WILDCARD = re.compile("[*?]")
VARIABLE = re.compile(r"\$\{[^}]*\}")


def matches(pattern: str, text: str) -> bool:
    """Whether IAM's pattern matches: `*` is any run of characters, `?` any one, all others stand for themselves."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def statements(document: object) -> list[Mapping[str, Any]]:
    """Return the statements of a document, names of elements in lower case; none if it is unknown or no JSON.

    Typed dictionaries of pulumi_aws reach the engine in AWS's capitals or in their own (`Statement`, `statement`).
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []  # AWS refuses it, and says so better than a rule could
    return [lowered for each in _elements(_lower_keys(document).get("statement")) if (lowered := _lower_keys(each))]


def may(document: object, actions: Sequence[str], resource: str) -> bool:
    """Whether a document allows any of `actions`, by their full names, on a resource, by its ARN or its URN."""
    return allowed_on(document, actions)(resource)


def allowed_on(document: object, actions: Sequence[str]) -> Callable[..., bool]:
    """Return a function that says of a resource, by all its names, whether a document allows any of `actions` on it.

    In doubt it does: the conditions of an Allow count as met, and a variable (`${aws:PrincipalTag/team}`) as any text.
    A Deny counts only where it is certain: it has no condition, no variable and no unknown part.
    """

    def with_calls(effect: str) -> list[tuple[Mapping[str, Any], set[str]]]:
        found = [each for each in statements(document) if each.get("effect") == effect]
        calls = [
            {action for action in actions if _element_matches(each, "action", str.lower, action.lower())}
            for each in found
        ]
        return [(each, called) for each, called in zip(found, calls, strict=True) if called]

    allows, denies = with_calls("Allow"), [(each, calls) for each, calls in with_calls("Deny") if _is_certain(each)]

    def allowed_on(*names: str) -> bool:
        denied = {call for each, calls in denies if _applies_to(each, *names) for call in calls}
        return any(calls - denied and _applies_to(each, *names) for each, calls in allows)

    return allowed_on


def too_wide(document: object) -> Iterator[str]:
    """Say what a role's document allows beyond named calls of named resources, and the way out.

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
            way_out = f", or accept them with everywhere({exact}), if AWS has no narrower form for what is called"
            yield (
                f"{', '.join(narrowable)} on {', '.join(wide)}: the role may use every such resource of the account; "
                f"name the resources{way_out if exact else ''}"
            )


def managed_too_wide(arn: object) -> str | None:
    """Say how much a policy of AWS's own allows, by its name, and the way out; None where it seems narrow."""
    wide = WIDE_AWS_POLICY.fullmatch(arn) if isinstance(arn, str) else None
    return wide and (
        f"{wide[1]}: AWS's own policy covers a whole kind of calls on every resource of the account; name the calls "
        "and their resources in a policy of your own"
    )


def open_to_everybody(document: object) -> Iterator[str]:
    """Say what the policy of a bucket, queue or topic allows to everybody, and the way out."""
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
                f"{actions} allowed to everybody: any AWS account can read the items in it, or put forged ones there; "
                "name the principals, or bind the callers by aws:SourceAccount, aws:SourceArn or aws:PrincipalOrgID"
            )


def _lower_keys(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    return {name.replace("_", "").lower(): each for name, each in cast("Mapping[str, Any]", value).items()}


def _elements(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _element_matches(statement: Mapping[str, Any], element: str, pattern: Callable[[str], str], *names: str) -> bool:
    """Whether the statement's element matches one of the names, or its negation matches none."""
    negated = f"not{element}" in statement
    return negated != any(
        name in entry.origins if isinstance(entry, Unknown) else matches(pattern(str(entry)), name)
        for entry in _elements(statement.get(f"not{element}" if negated else element))
        for name in names
    )


def _applies_to(statement: Mapping[str, Any], *names: str) -> bool:
    return _element_matches(statement, "resource", partial(VARIABLE.sub, "*"), *names)


def _is_certain(statement: Mapping[str, Any]) -> bool:
    """Whether a statement is known as a whole and holds for every caller."""
    parts = [part for value in statement.values() for part in _elements(value)]
    return all(isinstance(part, str) and not VARIABLE.search(part) for part in parts)


def _names_nothing(resource: str) -> bool:
    """Whether an ARN, or `*`, leaves open which resource of a service it is."""
    if resource.count(":") < 5:
        return bool(WILDCARD.search(resource))
    _, _, service, _, _, path = resource.split(":", 5)
    kind = "" if service in NAME_FIRST_SERVICES else "/?[^:/*?]+[:/]"
    return bool(WILDCARD.search(path)) and not re.match(f"{kind}[^*?]", path)


def _names_nobody(arn: str) -> bool:
    """Whether an ARN leaves open whose it is: it names no account and, where ARNs have none, no bucket either."""
    account, path = arn.split(":", 5)[4:] if arn.count(":") > 4 else ("*", "")
    return bool(WILDCARD.search(account)) or (not account and bool(WILDCARD.match(path)))


def _is_bound(condition: object, keys: re.Pattern[str], leaves_open: Callable[[str], bool]) -> bool:
    """Whether a condition asks for a certain value of one of `keys`, or is not known yet."""
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
    """Calls that AWS authorises on `*` only, by service; `*` where that is all of its calls."""
    # tests/infra/rules/service_reference.py makes this file.
    file = json.loads(Path(__file__).with_name("unscoped.json").read_text(encoding="utf-8"))
    return {service: frozenset(calls) for service, calls in file["services"].items()}
