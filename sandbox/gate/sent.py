"""Reads the e-mails and messages from the calls that send them."""

import email
import email.policy
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.gate.calls import Call

Sent = tuple[str, dict[str, Any]]
"""The kind of a fact, `mail` or `message`, with its fields but the consumer."""


def sent_by(call: Call) -> Iterator[Sent]:
    """Yield what a successful call has sent, to people or to other services."""
    arguments = call.arguments
    match call.service, call.operation:
        case ("ses", "SendEmail") if "Content" in arguments:
            yield "mail", _mail(arguments)
        case ("ses", "SendEmail" | "SendRawEmail"):
            yield "mail", _old_mail(arguments)
        case ("sns", "Publish"):
            target = next(
                (arguments[name] for name in ("TopicArn", "TargetArn", "PhoneNumber") if name in arguments), ""
            )
            yield "message", _message("sns", target, arguments.get("Message", ""))
        case ("sns", "PublishBatch"):
            texts = (value for name, value in arguments.items() if name.endswith(".Message"))
            yield from (("message", _message("sns", arguments.get("TopicArn", ""), text)) for text in texts)
        case ("sqs", "SendMessage" | "SendMessageBatch"):
            entries: list[dict[str, Any]] = arguments.get("Entries") or [dict(arguments)]
            for entry in entries:
                yield "message", _message("sqs", arguments.get("QueueUrl", ""), entry.get("MessageBody", ""))
        case ("events", "PutEvents"):
            events: list[dict[str, Any]] = arguments.get("Entries") or []
            for entry in events:
                text = f"{entry.get('Source')} {entry.get('DetailType')}: {entry.get('Detail')}"
                yield "message", _message("events", entry.get("EventBusName", "default"), text)
        case _:
            pass


def _message(service: str, target: str, text: str) -> dict[str, Any]:
    name = target.rsplit("/" if service == "sqs" else ":", 1)[-1]
    return {"service": service, "target": name, "text": text}


def _mail(arguments: Mapping[str, Any]) -> dict[str, Any]:
    content: Any = arguments["Content"]
    mail: dict[str, Any]
    if "Raw" in content:
        mail = _parsed(content["Raw"].get("Data", ""))
    elif "Template" in content:
        template = content["Template"]
        mail = {"subject": template.get("TemplateName", ""), "text": template.get("TemplateData", ""), "to": []}
    else:
        subject, body = content["Simple"]["Subject"]["Data"], content["Simple"]["Body"]
        mail = {"subject": subject, "text": (body.get("Text") or body.get("Html"))["Data"], "to": []}
    destination: Mapping[str, list[str]] = arguments.get("Destination") or {}
    to = [address for kind in ("ToAddresses", "CcAddresses", "BccAddresses") for address in destination.get(kind) or ()]
    return {**mail, "from": arguments.get("FromEmailAddress") or mail.get("from", ""), "to": to or mail["to"]}


def _old_mail(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read a mail of SES's first API; its arguments are such as Destination.ToAddresses.member.1."""
    raw = arguments.get("RawMessage.Data")
    mail: dict[str, Any] = _parsed(raw) if raw else {"to": []}
    to = [value for name, value in arguments.items() if name.startswith("Destination") and ".member." in name]
    text = arguments.get("Message.Body.Text.Data") or arguments.get("Message.Body.Html.Data") or mail.get("text", "")
    return {
        "from": arguments.get("Source") or mail.get("from", ""),
        "to": to or mail["to"],
        "subject": arguments.get("Message.Subject.Data") or mail.get("subject", ""),
        "text": text,
    }


def _parsed(data: str) -> dict[str, Any]:
    message = email.message_from_bytes(b64decode(data), policy=email.policy.default)
    body: Any = message.get_body(("plain", "html"))
    return {
        "from": str(message.get("From", "")),
        "to": [str(value) for value in message.get_all("To") or ()],
        "subject": str(message.get("Subject", "")),
        "text": body.get_content() if body else "",
    }
