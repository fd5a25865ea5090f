"""CloudWatch's alarm mute rules, kept in memory. They mute nothing: the sandbox has no alarms."""

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from sandbox.emulator import ACCOUNT
from sandbox.front.forwarding import Answer, Forward, Request, Response

_DURATION = TypeAdapter(timedelta)
PAGE = 50
"""Rules of one answer of ListAlarmMuteRules, if the request has no MaxRecords."""


class RuleError(Exception):
    """CloudWatch refuses the request; the first argument is the error's code."""


class MuteRules:
    """Answers the operations of mute rules in the JSON protocol, which boto3 uses for CloudWatch."""

    def __init__(self, region: str) -> None:
        self._arn = f"arn:aws:cloudwatch:{region}:{ACCOUNT}:alarm-mute-rule:"
        self._rules: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        operations = {
            "PutAlarmMuteRule": self._put,
            "GetAlarmMuteRule": self._get,
            "ListAlarmMuteRules": self._list,
            "DeleteAlarmMuteRule": self._delete,
        }
        self.answers: Mapping[str, Answer] = {name: self._answer(each) for name, each in operations.items()}

    def _answer(self, operation: Any) -> Answer:
        def answer(request: Request, forward: Forward) -> Response:
            del forward
            try:
                wanted = request.json()
            except ValueError as error:
                return Response.error("SerializationException", str(error))
            try:
                with self._lock:
                    return Response.of(operation(wanted))
            except RuleError as error:
                code, message = error.args
                return Response.error(code, message, 404 if code == "ResourceNotFoundException" else 400)

        return answer

    def _put(self, wanted: dict[str, Any]) -> dict[str, Any]:
        name = _required(wanted, "Name")
        rule = _required(wanted, "Rule")
        schedule: Mapping[str, Any] = _required(rule, "Schedule")
        _window(schedule)
        kept = {key: wanted[key] for key in ("Description", "MuteTargets", "StartDate", "ExpireDate") if key in wanted}
        self._rules[name] = {
            **kept,
            "Name": name,
            "AlarmMuteRuleArn": self._arn + name,
            "Rule": rule,
            "LastUpdatedTimestamp": time.time(),
            "MuteType": "ONE_TIME" if str(schedule["Expression"]).startswith("at(") else "RECURRING",
        }
        return {}

    def _get(self, wanted: dict[str, Any]) -> dict[str, Any]:
        name = _required(wanted, "AlarmMuteRuleName")
        if name not in self._rules:
            raise RuleError("ResourceNotFoundException", f"Alarm mute rule {name} does not exist")
        return {**self._rules[name], "Status": _status(self._rules[name])}

    def _delete(self, wanted: dict[str, Any]) -> dict[str, Any]:
        self._rules.pop(_required(wanted, "AlarmMuteRuleName"), None)  # AWS: a rule that does not exist is no error
        return {}

    def _list(self, wanted: dict[str, Any]) -> dict[str, Any]:
        alarm, statuses, after = wanted.get("AlarmName"), wanted.get("Statuses"), wanted.get("NextToken", "")
        found = [
            {**rule, "Status": _status(rule)}
            for name, rule in sorted(self._rules.items())
            if name > after and (alarm is None or alarm in rule.get("MuteTargets", {}).get("AlarmNames", ()))
        ]
        found = [rule for rule in found if not statuses or rule["Status"] in statuses]
        page = found[: int(wanted.get("MaxRecords") or PAGE)]
        shown = ("AlarmMuteRuleArn", "ExpireDate", "Status", "MuteType", "LastUpdatedTimestamp")
        summaries = [{name: rule[name] for name in shown if name in rule} for rule in page]
        more = {"NextToken": page[-1]["Name"]} if len(page) < len(found) else {}
        return {"AlarmMuteRuleSummaries": summaries, **more}


def _required(values: Mapping[str, Any], name: str) -> Any:
    if not values.get(name):
        raise RuleError("ValidationError", f"{name} is required")
    return values[name]


def _window(schedule: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the first and last moment of a one-time window, in epoch seconds; None for a cron expression."""
    expression, duration = str(_required(schedule, "Expression")), _required(schedule, "Duration")
    try:
        length = _DURATION.validate_python(duration)
        if expression.startswith("cron(") and expression.endswith(")"):
            return None
        if not (expression.startswith("at(") and expression.endswith(")")):
            raise RuleError("ValidationError", f"Expression {expression} is neither at(...) nor cron(...)")
        zone = ZoneInfo(schedule["Timezone"]) if "Timezone" in schedule else UTC
        start = datetime.fromisoformat(expression[3:-1]).replace(tzinfo=zone)
    except (ValidationError, ValueError, ZoneInfoNotFoundError) as error:
        raise RuleError("ValidationError", f"Schedule {json.dumps(dict(schedule))} is invalid: {error}") from error
    return start.timestamp(), (start + length).timestamp()


def _status(rule: Mapping[str, Any]) -> str:
    """Return the status of a rule now. The windows of a cron expression are not computed: it is SCHEDULED."""
    now, window = time.time(), _window(rule["Rule"]["Schedule"])
    start, end = window or (float("inf"), float("inf"))
    if now >= min(end, rule.get("ExpireDate", float("inf"))):
        return "EXPIRED"
    return "ACTIVE" if now >= max(start, rule.get("StartDate", 0)) else "SCHEDULED"
