"""Send one e-mail to each new user, in the user's language."""

import os
from typing import NamedTuple

from handler.stream import Change, PermanentError, client, consumer


class Template(NamedTuple):
    """Subject and text of an e-mail; `{name}` in the text becomes the user's name."""

    subject: str
    text: str


TEMPLATES = {
    "de": Template("Willkommen!", "Hallo {name},\n\nschön, dass du da bist.\n"),
    "en": Template("Welcome!", "Hello {name},\n\nit is good to have you here.\n"),
    "es": Template("¡Te damos la bienvenida!", "Hola, {name}:\n\nnos alegra que estés aquí.\n"),
}


class NoTemplateError(PermanentError):
    """No template exists in the user's language."""


@consumer(claim=True)
def handler(change: Change) -> None:
    """Welcome the user whose item was inserted, in English if the item has no language."""
    user = change.new_image or {}
    language = user.get("language", "en")
    if language not in TEMPLATES:
        raise NoTemplateError(f"no template for {language!r}; there are {', '.join(sorted(TEMPLATES))}")
    template = TEMPLATES[language]
    text = template.text.format(name=user.get("name", user["email"]))
    client("sesv2").send_email(
        FromEmailAddress=os.environ["MAIL_FROM"],
        Destination={"ToAddresses": [user["email"]]},
        Content={"Simple": {"Subject": {"Data": template.subject}, "Body": {"Text": {"Data": text}}}},
    )
