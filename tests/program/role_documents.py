"""Writes docs/roles, the permissions of the pipeline's roles, from the program: `make roles`.

The templates in tests/program/roles hold the statements. A word such as TABLES stands in them for the ARNs of the
resources that the program registers with one of its stack files. STACK, REGION and others stay: docs/pipeline.md says
who fills them in.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from ops.smoke import MIRROR_TABLES
from sandbox import ROOT
from sandbox.program.in_process import Registration, read_project
from sandbox.program.values import ProgramError
from tests.program import recording
from tests.program.recording import RecordingBackend, record_program, stacks

TEMPLATES = Path(__file__).parent / "roles"
PIPELINE = ("read", "write", "alarms", "encrypt", "smoke")
OPERATOR = tuple(sorted(path.stem for path in TEMPLATES.glob("operator-*.json")))
NAMES = (*PIPELINE, *OPERATOR)
MANAGED_POLICY_CHARACTERS = 6_144
"""Of one managed policy, white space not counted (IAM's quota)."""

ARNS = {
    recording.TABLE: ("TABLES", "arn:aws:dynamodb:REGION:ACCOUNT_ID:table/{}"),
    recording.FUNCTION: ("FUNCTIONS", "arn:aws:lambda:REGION:ACCOUNT_ID:function:{}"),
    recording.SCHEDULE: ("SCHEDULES", "arn:aws:scheduler:REGION:ACCOUNT_ID:schedule/default/{}"),
    recording.LOG_GROUP: ("LOG_GROUPS", "arn:aws:logs:REGION:ACCOUNT_ID:log-group:{}"),
    recording.BUCKET: ("BUCKETS", "arn:aws:s3:::{}"),
    recording.ALARM: ("ALARMS", "arn:aws:cloudwatch:REGION:ACCOUNT_ID:alarm:{}"),
    recording.COMPOSITE: ("ALARMS", "arn:aws:cloudwatch:REGION:ACCOUNT_ID:alarm:{}"),
    recording.DASHBOARD: ("DASHBOARDS", "arn:aws:cloudwatch::ACCOUNT_ID:dashboard/{}"),
    recording.TOPIC: ("TOPICS", "arn:aws:sns:REGION:ACCOUNT_ID:{}"),
}
"""The word in the templates and the ARN, by the resource's type."""

NAME_INPUTS = {recording.BUCKET: "bucket", recording.COMPOSITE: "alarmName", recording.DASHBOARD: "dashboardName"}
"""The input with the name in AWS, by type; `name` for all others."""

Arns = Mapping[str, set[str]]
"""The program's ARNs by the word that stands for them in the templates."""


def recordings(root: Path) -> list[RecordingBackend]:
    """Return what the program registers with each of its stack files, except those that hold encrypted values."""
    recorded: list[RecordingBackend] = []
    for stack in stacks(root):
        try:
            recorded.append(record_program(root, stack))
        except ProgramError as error:
            if "is encrypted" not in str(error):
                raise
    return recorded


def documents(root: Path, programs: Sequence[RecordingBackend]) -> dict[str, str]:
    """Return the text of each document by its file's name; one that outgrows IAM's quota has a second file."""
    arns = _arns(programs)
    project, texts = read_project(root)["name"], dict[str, str]()
    for name in NAMES:
        template = (TEMPLATES / f"{name}.json").read_text(encoding="utf-8").replace("PROJECT", project)
        for number, statements in enumerate(_files(_filled(json.loads(template)["Statement"], arns)), 1):
            file = f"{name}.json" if number == 1 else f"{name}-{number}.json"
            texts[file] = json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2) + "\n"
    return texts


def not_covered(programs: Sequence[RecordingBackend]) -> list[str]:
    """Return the resources of a user's own for which the templates have no permissions."""
    ours = {each.urn for program in programs for each in program.of_components()}
    others = [each for program in programs for each in program.registered.values() if each.urn not in ours]
    return sorted({f"{each.type} {each.name}" for each in others if each.custom and not list(_words(each))})


def _arns(programs: Sequence[RecordingBackend]) -> Arns:
    arns = defaultdict[str, set[str]](set)
    for program in programs:
        for each in program.registered.values():
            for word, arn in _words(each):
                arns[word].add(arn)
        readers = {name: consumer["mappings"] for name, consumer in program.outputs.get("consumers", {}).items()}
        tables = {each.name: _arn_of(each) for each in program.of_type(recording.TABLE)}
        mirrored = [table for table in readers.get("mirror", ()) if f"{MIRROR_TABLES.get(table)}-table" in tables]
        arns["SMOKE_TABLES"] |= {tables[f"{table}-table"] for table in [*readers.get("change-log", ()), *mirrored]}
        arns["MIRROR_TABLES"] |= {tables[f"{MIRROR_TABLES[table]}-table"] for table in mirrored}
        if "change-log" in readers:
            arns["CHANGE_LOG"] |= {f"{_arn_of(program.one(recording.LOG_GROUP, 'change-log-logs'))}:*"}
    return arns


def _words(registration: Registration) -> Iterator[tuple[str, str]]:
    if registration.type in ARNS:
        arn = _arn_of(registration)
        yield ARNS[registration.type][0], arn
        yield from _derived_words(registration, arn)
    elif registration.type == recording.ROLE:
        arn = f"arn:aws:iam::ACCOUNT_ID:role/{_name_of(registration)}"
        trust = registration.inputs["assumeRolePolicy"]
        for service, word in (("lambda.", "FUNCTION_ROLES"), ("scheduler.", "RETRY_ROLES")):
            if f'"{service}amazonaws.com"' in trust:
                yield word, arn


def _derived_words(registration: Registration, arn: str) -> Iterator[tuple[str, str]]:
    """Yield the words for what belongs to a resource."""
    match registration.type:
        case recording.LOG_GROUP:
            yield "LOG_STREAMS", f"{arn}:*"
        case recording.TOPIC:
            yield "SUBSCRIPTIONS", f"{arn}:*"
        case recording.COMPOSITE:
            yield "ALL_ALARMS", "*"
        case recording.BUCKET:
            yield "BUCKET_OBJECTS", f"{arn}/*"
        case recording.FUNCTION:
            yield "MUTE_RULES", f"arn:aws:cloudwatch:REGION:ACCOUNT_ID:alarm-mute-rule:{_name_of(registration)}-paused"
        case recording.TABLE if registration.inputs.get("streamEnabled"):
            yield "STREAM_TABLES", arn
            yield "STREAMS", f"{arn}/stream/*"
        case recording.TABLE if f"{recording.STORES}::" in registration.parent:
            yield "LEDGERS", arn
        case _:
            pass


def _arn_of(registration: Registration) -> str:
    name = _name_of(registration)
    match registration.type:  # a program has dozens of alarms
        case recording.ALARM if registration.parent:
            name = f"{registration.parent.rpartition('::')[2]}-*"
        case recording.COMPOSITE:
            name = re.sub("(?<=-STACK-).*", "*", name)
        case _:
            pass
    return ARNS[registration.type][1].format(name)


def _name_of(registration: Registration) -> str:
    """Return the resource's name in AWS; `?` stands for one of the seven characters that Pulumi adds."""
    name = registration.inputs.get(NAME_INPUTS.get(registration.type, "name"))
    if not isinstance(name, str):
        return f"{registration.name}-{'?' * 7}"
    _, _, stack, _, project, *_ = registration.urn.split(":")
    return name.replace(f"{project}-{stack}", f"{project}-STACK")


def _filled(statements: Sequence[Mapping[str, Any]], arns: Arns) -> Iterator[dict[str, Any]]:
    """Yield the statements with ARNs in place of words, without those that apply to no resource of the program."""
    for statement in statements:
        filled = {key: _with_arns(value, arns) for key, value in statement.items()}
        conditions = [values for tests in filled.get("Condition", {}).values() for values in tests.values()]
        if filled["Resource"] and all(conditions):
            yield filled


def _with_arns(value: Any, arns: Arns) -> Any:
    match value:
        case dict():
            return {key: _with_arns(item, arns) for key, item in cast("dict[str, Any]", value).items()}
        case list():
            words = cast("list[str]", value)
            return [arn for word in words for arn in (sorted(arns[word]) if _is_word(word) else [word])]
        case _:
            return value


def _is_word(value: str) -> bool:
    return re.fullmatch(r"[A-Z_]+", value) is not None


def _files(statements: Iterator[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the statements file by file, each below IAM's quota."""
    files: list[list[dict[str, Any]]] = []
    for statement in statements:
        if not files or size([*files[-1], statement]) > MANAGED_POLICY_CHARACTERS:
            files.append([])
        files[-1].append(statement)
    return files


def size(statements: Sequence[Mapping[str, Any]]) -> int:
    """Return how many characters IAM counts of a document with these statements."""
    return len(re.sub(r"\s", "", json.dumps({"Version": "2012-10-17", "Statement": statements})))


def generated(root: Path) -> dict[str, str]:
    """Return the generated documents of docs/roles by file name: all but those that say who may assume a role."""
    paths = (root / "docs" / "roles").glob("*.json")
    return {path.name: path.read_text(encoding="utf-8") for path in paths if not path.name.startswith("trust-")}


def main() -> None:
    """Write docs/roles, and name the resources that need permissions of the user's own."""
    programs = recordings(ROOT)
    texts = documents(ROOT, programs)
    for name in generated(ROOT).keys() - texts.keys():
        (ROOT / "docs" / "roles" / name).unlink()
    for name, text in texts.items():
        (ROOT / "docs" / "roles" / name).write_text(text, encoding="utf-8")
    console = Console(soft_wrap=True)
    for resource in not_covered(programs):
        console.print(f"docs/roles has no permissions for {resource}: add them to a policy of your own")


if __name__ == "__main__":
    main()
