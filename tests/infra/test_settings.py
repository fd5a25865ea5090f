"""The stack's configuration: the settings that it becomes, and the errors for its mistakes."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pulumi
import pytest
import yaml
from annotated_types import Ge, Le
from botocore.session import Session  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped
from pydantic import BaseModel
from pydantic.alias_generators import to_camel, to_pascal

from infra.settings import NO_ADDRESS, AlarmSettings, Settings, Tuning
from sandbox import ROOT
from sandbox.program.in_process import Program, run
from tests.consumers.project import SAMPLE
from tests.program.recording import RecordingBackend, record

STREAM = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"


def load(**config: Any) -> Settings:
    """Load the settings of a stack with these keys; objects are JSON, as the CLI passes them."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings: list[Settings] = []
    recorder = record(
        lambda: settings.append(Settings.load(SAMPLE)),
        {"aws:region": "eu-central-1"} | {f"table-stream:{key}": text for key, text in texts.items()},
    )
    assert not recorder.registered
    return settings[0]


def error_lines(**config: Any) -> list[str]:
    """Return the lines of the one error that these keys cause."""
    with pytest.raises(pulumi.RunError) as caught:
        load(**config)
    first, *lines = str(caught.value).splitlines()
    assert first == f"the configuration of stack test has {len(lines)} error{'s' if len(lines) > 1 else ''}:"
    return [line.strip() for line in lines]


def test_every_setting_has_a_default() -> None:
    settings = load(target="arm64")
    assert settings == Settings()
    assert settings.tuning("mirror") == Tuning()


def test_every_setting_can_be_set() -> None:
    settings = load(
        target="x86_64",
        bytecode=True,
        protect=True,
        mailFrom="shop@example.com",
        encryption="customer",
        failureRetentionInDays=7,
        confirmedDrained={"orders": STREAM},
        alarms={"pageTo": "on-call@example.com", "heldAfter": 600, "nearTimeoutShare": 0.5},
        tuning={"welcome-email": {"batchSize": 10, "giveUpAfter": 3_600, "memorySize": 512}},
    )
    tuning = Tuning(batch_size=10, give_up_after=3_600, memory_size=512)
    assert settings == Settings(
        target="x86_64",
        bytecode=True,
        protect=True,
        mail_from="shop@example.com",
        encryption="customer",
        failure_retention_in_days=7,
        confirmed_drained={"orders": STREAM},
        alarms=AlarmSettings(page_to="on-call@example.com", held_after=600, near_timeout_share=0.5),
        tuning={"welcome-email": tuning},
    )
    assert settings.tuning("welcome-email") == tuning
    assert settings.tuning("mirror") == Tuning()


def test_pulumi_yaml_declares_every_key_with_the_same_default_and_no_type() -> None:
    declarations: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    ours = {key: about for key, about in declarations.items() if ":" not in key}  # `pulumi new` adds pulumi:tags
    defaults = {key: about["default"] for key, about in ours.items()}
    assert defaults.keys() == Settings().model_dump(by_alias=True).keys()
    assert Settings.model_validate(defaults) == Settings()
    assert {part for about in ours.values() for part in about} == {"description", "default"}


NO_SUCH_SETTING = f"no such key; there are {', '.join(Settings().model_dump(by_alias=True))}"
NO_SUCH_ALARM_SETTING = f"no such key; there are {', '.join(AlarmSettings().model_dump(by_alias=True))}"
ON_CALL = {"pageTo": "on-call@example.com"}
TOPIC = "arn:aws:sns:eu-central-1:123456789012:on-call"
NO_SUCH_SIZE = f"no such key; there are {', '.join(Tuning().model_dump(by_alias=True))}"


def reason(model: type[BaseModel], field: str) -> str:
    """Return the reason of the field's bound, as an error ends with it."""
    return f" ({model.model_fields[field].description})"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"colour": "red"}, f'colour = "red": {NO_SUCH_SETTING}'),
        (
            {"confirmedDrained": {"orders": "drained"}},
            "confirmedDrained.orders = \"drained\": should match pattern '^arn:[^:]+:dynamodb:.+/stream/.+$'"
            + reason(Settings, "confirmed_drained"),
        ),
        (
            {"target": "host", "bytecode": True},
            'bytecode = "true": the sandbox edits the code of functions for this machine, and bytecode would hide that'
            + reason(Settings, "bytecode"),
        ),
        ({"mailfrom": "a@b.org"}, 'mailfrom = "a@b.org": no such key; did you mean mailFrom?'),
        (
            {"protect": "perhaps"},
            'protect = "perhaps": should be a valid boolean, unable to interpret input' + reason(Settings, "protect"),
        ),
        (
            {"mailFrom": "nobody"},
            r"""mailFrom = "nobody": should match pattern '^([^@\s]+@[^@\s]+\.[^@\s]+)?$'"""
            + reason(Settings, "mail_from"),
        ),
        (
            {"encryption": "none"},
            "encryption = \"none\": should be 'aws' or 'customer'" + reason(Settings, "encryption"),
        ),
        (
            {"alarms": []},
            "alarms = []: should be a valid dictionary or instance of AlarmSettings" + reason(Settings, "alarms"),
        ),
        ({"alarms": {"PageTo": "a@b.org"}}, 'alarms.PageTo = "a@b.org": no such key; did you mean pageTo?'),
        ({"alarms": {"late": 1}}, "alarms.late = 1: no such key; did you mean lateAfter?"),
        ({"alarms": {"colour": 1}}, f"alarms.colour = 1: {NO_SUCH_ALARM_SETTING}"),
        (
            {"alarms": {"manyHeld": "20"}},
            'alarms.manyHeld = "20": should be a valid integer' + reason(AlarmSettings, "many_held"),
        ),
        (
            {"protect": True},
            f'alarms.pageTo = "": {NO_ADDRESS}' + reason(AlarmSettings, "page_to"),
        ),
        (
            {"protect": True, "alarms": {"ticketTo": TOPIC}},
            f'alarms.pageTo = "": {NO_ADDRESS}' + reason(AlarmSettings, "page_to"),
        ),
        ({"tuning": "oops"}, 'tuning = "oops": should be a valid dictionary' + reason(Settings, "tunings")),
        (
            {"tuning": {"welcom-email": {}}},
            "tuning.welcom-email: no handler/welcom_email.py; did you mean welcome_email?",
        ),
        (
            {"tuning": {"mirror": {"batch_size": 5}}},
            "tuning.mirror.batch_size = 5: no such key; did you mean batchSize?",
        ),
        ({"tuning": {"mirror": {"Memory": 512}}}, "tuning.mirror.Memory = 512: no such key; did you mean memorySize?"),
        ({"tuning": {"mirror": {"m": 5}}}, f"tuning.mirror.m = 5: {NO_SUCH_SIZE}"),  # several begin so
        (
            {"tuning": {"mirror": {"tumblingWindowInSeconds": 30}}},
            f"tuning.mirror.tumblingWindowInSeconds = 30: {NO_SUCH_SIZE}",
        ),
        (
            {"tuning": {"mirror": {"memorySize": "512"}}},
            'tuning.mirror.memorySize = "512": should be a valid integer' + reason(Tuning, "memory_size"),
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_named_with_its_value_its_bound_and_the_source(config: dict[str, Any], line: str) -> None:
    assert error_lines(**config) == [f"table-stream:{line}"]


@pytest.mark.parametrize(
    ("setting", "value", "replaced_by"),
    [
        (
            *("maximumRetryAttempts", -1),
            "the engine retries a failing item until giveUpAfter has passed, however often; to set "
            "another value, pass StreamConsumer(mapping_args={...})",
        ),
        (
            *("bisectBatchOnFunctionError", True),
            "it is always on, so that bisecting finds a change that ends the function; to set another value, pass "
            "StreamConsumer(mapping_args={...})",
        ),
        (
            *("maximumRecordAgeInSeconds", 21_600),
            "the engine holds a failing item outside the stream until giveUpAfter has passed, and the mapping's own "
            "limit is 86100 s; to set another value, pass StreamConsumer(mapping_args={...})",
        ),
        (*("giveUpAloneAfter", 3_600), "giveUpAfter applies to every item, whether other items succeed or not"),
    ],
)
@pytest.mark.parametrize("protect", [False, True])
def test_an_old_setting_is_refused_with_what_replaced_it(
    setting: str, value: int, replaced_by: str, protect: bool
) -> None:
    assert error_lines(protect=protect, alarms=ON_CALL, tuning={"mirror": {setting: value}}) == [
        f"table-stream:tuning.mirror.{setting} = {json.dumps(value)}: no longer a setting: {replaced_by}"
    ]


def bounds() -> Iterator[tuple[str, int, int]]:
    """Each bound of Tuning: the field, the last number that is allowed, and the first that is not."""
    for name, field in Tuning.model_fields.items():
        for bound in field.metadata:
            if isinstance(bound, Ge):
                yield name, cast("int", bound.ge), cast("int", bound.ge) - 1
            elif isinstance(bound, Le):
                yield name, cast("int", bound.le), cast("int", bound.le) + 1


@pytest.mark.parametrize(("field", "bound", "outside"), [*bounds()])
def test_a_bound_itself_is_allowed_and_the_next_number_is_not(field: str, bound: int, outside: int) -> None:
    share: dict[str, int] = {"handler_timeout": {"timeout": 900}, "timeout": {"handlerTimeout": 1}}.get(field, {})
    key = to_camel(field)
    assert getattr(load(tuning={"mirror": share | {key: bound}}).tuning("mirror"), field) == bound
    [line] = error_lines(tuning={"mirror": share | {key: outside}})
    assert line.startswith(f"table-stream:tuning.mirror.{key} = {outside}: should be ")
    assert line.endswith(reason(Tuning, field))


@pytest.mark.parametrize("field", ["batch_size", "maximum_batching_window_in_seconds", "parallelization_factor"])
def test_the_bounds_of_a_mapping_are_those_of_lambda_s_api(field: str) -> None:
    lambda_api = cast("Any", Session()).get_service_model("lambda")
    limits = lambda_api.shape_for(to_pascal(field)).metadata
    assert sorted(bound for name, bound, _ in bounds() if name == field) == [limits["min"], limits["max"]]


def test_a_ticket_goes_to_whom_pages_go_unless_the_stack_file_names_another() -> None:
    assert [AlarmSettings(page_to=TOPIC).address(level) for level in ("page", "ticket")] == [TOPIC, TOPIC]
    both = AlarmSettings(page_to=TOPIC, ticket_to="team@example.com")
    assert [both.address(level) for level in ("page", "ticket")] == [TOPIC, "team@example.com"]


@pytest.mark.parametrize("address", ["nobody", "a@b", "arn:aws:sqs:eu-central-1:123456789012:on-call", TOPIC + "\n"])
def test_an_address_is_of_an_e_mail_or_a_topic(address: str) -> None:
    [line] = error_lines(alarms={"pageTo": address})
    assert line.startswith(f"table-stream:alarms.pageTo = {json.dumps(address)}: should match pattern")


def test_every_mistake_is_in_one_error() -> None:
    lines = error_lines(
        colour="red",
        target="riscv",
        protect=True,
        alarms={"heldAfter": 1},
        tuning={"mirror": {"batchSize": 0, "timeout": 20, "memorysize": 1}, "welcom-email": {}, "change-log": None},
    )
    assert [line.split(" = ")[0].split(": ")[0] for line in lines] == [
        "table-stream:target",
        "table-stream:alarms.pageTo",
        "table-stream:alarms.heldAfter",
        "table-stream:tuning.mirror.batchSize",
        "table-stream:tuning.mirror.handlerTimeout",
        "table-stream:tuning.mirror.memorysize",
        "table-stream:tuning.welcom-email",
        "table-stream:tuning.change-log",
        "table-stream:colour",
    ]


def test_an_error_does_not_show_the_value_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def program() -> None:
        monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", '["table-stream:mailFrom", "table-stream:colour"]')
        Settings.load(SAMPLE)

    with pytest.raises(pulumi.RunError) as caught:
        record(program, {"table-stream:mailFrom": "hunter2", "table-stream:colour": "hunter3"})
    assert "table-stream:mailFrom = [secret]: should match" in str(caught.value)
    assert "table-stream:colour = [secret]: no such key" in str(caught.value)
    assert "hunter" not in f"{caught.value} {caught.value.__cause__}"


def test_a_mistake_stops_the_program_before_its_first_resource() -> None:
    recorder = RecordingBackend()
    config = {"table-stream:tuning": '{"mirror": {"batchSize": 0}}'}
    with pytest.raises(pulumi.RunError):
        run(Program(SAMPLE, stack="dev", config=config), recorder)
    assert not recorder.registered
    assert not recorder.invoked
