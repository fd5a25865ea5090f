"""Explains errors to the operator: one line that says what is wrong and what to do."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from botocore import exceptions  # pyright: ignore[reportMissingTypeStubs] -- untyped

from handler.stream.aws import error_code
from handler.stream.ledger.writes import LedgerBusyError
from ops import OpsError
from ops.text.causes import one_line

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
INVALID = ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
THROTTLED = (
    *("ThrottlingException", "Throttling", "ProvisionedThroughputExceededException", "RequestLimitExceeded"),
    *("TooManyRequestsException", "SlowDown"),
)
GONE = ("ResourceNotFoundException", "ResourceNotFound", "NoSuchKey", "NotFound", "404")
"""Codes of AWS's errors about a thing that does not exist, or does not exist any more."""


def unless_gone(call: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer | None:
    """Return the answer to a call of boto3; None if AWS says that the thing does not exist. Raises its other errors."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        if error_code(error) in GONE:
            return None
        raise


def explanation(error: Exception) -> str | None:
    """Return one line about an error that the operator can fix; None for a fault of this program."""
    match error:
        case OpsError():
            return str(error)
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return f"{error}: log in to AWS, as with aws sso login, or set AWS_PROFILE"
        case exceptions.ProfileNotFound():
            return f"{error}: set AWS_PROFILE to a profile that aws configure list-profiles prints"
        case exceptions.TokenRetrievalError() | exceptions.UnauthorizedSSOTokenError():
            return f"{error}: log in again, as with aws sso login"
        case exceptions.EndpointConnectionError() | exceptions.ConnectTimeoutError():
            return f"{error}: check the network and AWS_ENDPOINT_URL, which make sandbox prints at each start"
        case LedgerBusyError():
            return f"{error}: wait a minute and run the command again"
        case exceptions.ClientError():
            code = error_code(error) or ""
            return f"{one_line(code, str(error)).rstrip('.')}: {_way_out(code)}".removesuffix(": ")
        case exceptions.BotoCoreError():
            return str(error)
        case _:
            return None


def _way_out(code: str) -> str:
    if code in EXPIRED:
        return "the credentials have expired: log in again"
    if code in INVALID:
        return "AWS does not know these credentials: check AWS_PROFILE and the variables AWS_*"
    if code in DENIED:
        return "docs/roles has the permissions that each command needs (operator-*.json)"
    if code in THROTTLED:
        return "AWS throttles the calls: wait a minute and run the command again; it continues where it stopped"
    return ""
