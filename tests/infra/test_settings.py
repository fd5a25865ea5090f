"""Stack configuration: what it becomes, and what a mistake in it gets."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from infra.settings import Settings, Tuning
from sandbox.program.in_process import Program, run
from tests.program.recording import Recorder, record

ROOT = Path(__file__).parents[2]


STREAM = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"


def load(**config: Any) -> Settings:
    """Settings of a stack with these keys in the project's namespace, objects as the CLI hands them over."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    loaded: list[Settings] = []
    recorder = record(
        lambda: loaded.append(Settings.load()),
        {"aws:region": "eu-central-1"} | {f"table-stream:{key}": text for key, text in texts.items()},
    )
    assert not recorder.registered
    return loaded[0]


def refused(**config: Any) -> list[str]:
    """The lines of the one error that these keys get."""
    with pytest.raises(pulumi.RunError) as caught:
        load(**config)
    first, *lines = str(caught.value).splitlines()
    assert first == f"the configuration of stack test has {len(lines)} error{'s' if len(lines) > 1 else ''}:"
    return [line.strip() for line in lines]


def test_nothing_need_be_said() -> None:
    settings = load(target="arm64")
    assert settings == Settings()
    assert settings.tuning("mirror") == Tuning()


def test_everything_can_be_said() -> None:
    settings = load(
        target="x86_64",
        protect=True,
        mailFrom="shop@example.com",
        encryption="customer",
        failureRetentionInDays=7,
        confirmedDrained={"orders": STREAM},
        tuning={"welcome-email": {"batchSize": 10, "giveUpAfter": 3_600, "memorySize": 512}},
    )
    tuning = Tuning(batch_size=10, give_up_after=3_600, memory_size=512)
    assert settings == Settings(
        target="x86_64",
        protect=True,
        mail_from="shop@example.com",
        encryption="customer",
        failure_retention_in_days=7,
        confirmed_drained={"orders": STREAM},
        tuning={"welcome-email": tuning},
    )
    assert settings.tuning("welcome-email") == tuning
    assert settings.tuning("mirror") == Tuning()


def test_pulumi_yaml_declares_every_key_with_the_same_default_and_no_type() -> None:
    declared: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert {key: about["default"] for key, about in declared.items()} == Settings().model_dump(by_alias=True)
    assert {part for about in declared.values() for part in about} == {"description", "default"}


@pytest.mark.parametrize(
    ("config", "lines"),
    [
        (
            {"colour": "red"},
            [
                'table-stream:colour = "red": no such key; there are target, protect, mailFrom, '
                "encryption, failureRetentionInDays, confirmedDrained, tuning"
            ],
        ),
        (
            {"confirmedDrained": {"orders": "drained"}},
            [
                'table-stream:confirmedDrained.orders = "drained": should match pattern '
                "'^arn:[^:]+:dynamodb:.+/stream/.+$' (a table's name to the ARN of its stream that may "
                "end, as the refusal of another view type says)"
            ],
        ),
        ({"mailfrom": "a@b.org"}, ['table-stream:mailfrom = "a@b.org": no such key; did you mean mailFrom?']),
        (
            {"protect": "perhaps"},
            [
                'table-stream:protect = "perhaps": should be a valid boolean, unable to interpret input '
                "(keep tables, streams' positions and failures from being deleted)"
            ],
        ),
        (
            {"mailFrom": "nobody"},
            [
                r"""table-stream:mailFrom = "nobody": should match pattern '^([^@\s]+@[^@\s]+\.[^@\s]+)?$' """
                "(an address verified with SES)"
            ],
        ),
        (
            {"encryption": "none"},
            [
                "table-stream:encryption = \"none\": should be 'aws' or 'customer' "
                "(whose keys encrypt what is kept: AWS's, or one of the stack's own)"
            ],
        ),
        (
            {"tuning": "oops"},
            ['table-stream:tuning = "oops": should be a valid dictionary (a consumer\'s name to its sizes)'],
        ),
        (
            {"tuning": {"welcom-email": {}}},
            ["table-stream:tuning.welcom-email: no handler/welcom_email.py; did you mean welcome_email?"],
        ),
        (
            {"tuning": {"zzz": {}}},
            ["table-stream:tuning.zzz: no handler/zzz.py; there are change_log, mirror, welcome_email"],
        ),
        (
            {"tuning": {"change_log": {}}},
            ["table-stream:tuning.change_log: a consumer is written with dashes: change-log"],
        ),
        (
            {"tuning": {"mirror": {"batch_size": 5}}},
            ["table-stream:tuning.mirror.batch_size = 5: no such key; did you mean batchSize?"],
        ),
        (
            {"tuning": {"mirror": {"Memory": 512}}},
            ["table-stream:tuning.mirror.Memory = 512: no such key; did you mean memorySize?"],
        ),
        (
            {"tuning": {"mirror": {"m": 5}}},  # of several, none is meant
            [
                "table-stream:tuning.mirror.m = 5: no such key; there are memorySize, timeout, "
                "retentionInDays, tracing, enabled, startingPosition, batchSize, maximumBatchingWindowInSeconds, "
                "parallelizationFactor, giveUpAfter, handlerTimeout, workers"
            ],
        ),
        (
            {"tuning": {"mirror": {"tumblingWindowInSeconds": 30}}},
            [
                "table-stream:tuning.mirror.tumblingWindowInSeconds = 30: no such key; there are memorySize, timeout, "
                "retentionInDays, tracing, enabled, startingPosition, batchSize, maximumBatchingWindowInSeconds, "
                "parallelizationFactor, giveUpAfter, handlerTimeout, workers"
            ],
        ),
        (
            {"tuning": {"mirror": {"memorySize": "512"}}},
            ['table-stream:tuning.mirror.memorySize = "512": should be a valid integer (MB, Lambda\'s limits)'],
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_named_with_its_value_its_bound_and_the_source(config: dict[str, Any], lines: list[str]) -> None:
    assert refused(**config) == lines


@pytest.mark.parametrize(
    ("setting", "value", "replaced_by"),
    [
        (
            *("maximumRetryAttempts", -1),
            "a failing item is held and retried for giveUpAfter, however often that is; another value is for "
            "StreamConsumer(mapping_args={...})",
        ),
        (
            *("bisectBatchOnFunctionError", True),
            "it is always on, so that the change that ends the function is found; another value is for "
            "StreamConsumer(mapping_args={...})",
        ),
        (
            *("maximumRecordAgeInSeconds", 21_600),
            "a failing item is held, outside the stream, for giveUpAfter, and the mapping's own limit is 86100; "
            "another value is for StreamConsumer(mapping_args={...})",
        ),
        (*("giveUpAloneAfter", 3_600), "giveUpAfter is for every item, whether others succeed or not"),
    ],
)
@pytest.mark.parametrize("protect", [False, True])
def test_an_old_setting_is_refused_with_what_replaced_it(
    setting: str, value: int, replaced_by: str, protect: bool
) -> None:
    assert refused(protect=protect, tuning={"mirror": {setting: value}}) == [
        f"table-stream:tuning.mirror.{setting} = {json.dumps(value)}: no longer a setting: {replaced_by}"
    ]


@pytest.mark.parametrize(
    "tuning",
    [
        *(
            {"timeout": 6, "handlerTimeout": 1},
            {"timeout": 900},
            {"giveUpAfter": 60},
            {"giveUpAfter": 2_592_000},
            {"batchSize": 10_000},
            {"workers": 1},
        ),
        *({"memorySize": 128}, {"memorySize": 10_240}, {"maximumBatchingWindowInSeconds": 300}, {"workers": 100}),
        *({"parallelizationFactor": 10}, {"timeout": 900, "handlerTimeout": 150}),
    ],
)
def test_a_bound_itself_is_allowed(tuning: dict[str, Any]) -> None:
    assert load(tuning={"mirror": tuning}).tuning("mirror") != Tuning()


def test_every_mistake_is_in_one_error() -> None:
    lines = refused(
        colour="red",
        target="riscv",
        tuning={"mirror": {"batchSize": 0, "timeout": 20, "memorysize": 1}, "welcom-email": {}, "change-log": None},
    )
    assert [line.split(" = ")[0].split(": ")[0] for line in lines] == [
        "table-stream:target",
        "table-stream:tuning.mirror.batchSize",
        "table-stream:tuning.mirror.handlerTimeout",
        "table-stream:tuning.mirror.memorysize",
        "table-stream:tuning.welcom-email",
        "table-stream:tuning.change-log",
        "table-stream:colour",
    ]


def test_the_value_of_a_secret_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def program() -> None:
        monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", '["table-stream:mailFrom", "table-stream:colour"]')
        Settings.load()

    with pytest.raises(pulumi.RunError) as caught:
        record(program, {"table-stream:mailFrom": "hunter2", "table-stream:colour": "hunter3"})
    assert "table-stream:mailFrom = [secret]: should match" in str(caught.value)
    assert "table-stream:colour = [secret]: no such key" in str(caught.value)
    assert "hunter" not in f"{caught.value} {caught.value.__cause__}"


def test_a_mistake_stops_the_program_before_its_first_resource() -> None:
    recorder = Recorder()
    with pytest.raises(pulumi.RunError):
        run(Program(stack="dev", config={"table-stream:tuning": '{"mirror": {"batchSize": 0}}'}), recorder)
    assert not recorder.registered
    assert not recorder.invoked
