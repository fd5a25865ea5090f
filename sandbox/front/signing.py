"""Requests that the front changes: the client's signature is not valid any more, so the sandbox signs them.

An emulator that enforces IAM then asks for the sandbox's permission instead of the client's.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from botocore.auth import SigV4Auth  # pyright: ignore[reportMissingTypeStubs] -- botocore is untyped
from botocore.awsrequest import AWSRequest  # pyright: ignore[reportMissingTypeStubs] -- as above
from botocore.credentials import Credentials  # pyright: ignore[reportMissingTypeStubs] -- as above

from sandbox.emulator import CREDENTIAL
from sandbox.front.forwarding import Request

SIGNED = ("host", "content-type", "x-amz-target")
"""The headers of a client that a request needs."""


def with_json(request: Request, value: Mapping[str, Any]) -> Request:
    """Return a request with a JSON object as its body, signed by the sandbox unless that is the body already."""
    return request if value == request.json() else signed(replace(request, body=json.dumps(value).encode()))


def signed(request: Request) -> Request:
    """Return a request with the sandbox's signature, for the same Region and service; an unsigned one stays so."""
    region, service = request.scope
    if not service:
        return request
    headers = {name: request.headers[name] for name in SIGNED if name in request.headers}
    url = f"http://{request.headers.get('host', '')}{request.target}"
    unsigned: Any = AWSRequest(method=request.method, url=url, headers=headers, data=request.body)
    signer: Any = SigV4Auth(Credentials(CREDENTIAL, CREDENTIAL), service, region)
    signer.add_auth(unsigned)
    return replace(request, headers={name.lower(): value for name, value in unsigned.headers.items()})
