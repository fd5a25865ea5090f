"""Errors as the operator reads them: one line with the way out; a fault of the program is none."""

import pytest
from botocore import exceptions  # pyright: ignore[reportMissingTypeStubs] -- untyped

from ops.errors import explanation

WAYS_OUT = {
    "ExpiredTokenException": "the credentials have expired: log in again",
    "UnrecognizedClientException": "AWS does not know these credentials: check AWS_PROFILE and the variables AWS_*",
    "AccessDeniedException": "docs/roles has the permissions that each command needs (operator-*.json)",
    "ThrottlingException": "AWS throttles the calls: wait a minute and run the command again; "
    "it continues where it stopped",
}


@pytest.mark.parametrize(("code", "way_out"), WAYS_OUT.items())
def test_an_error_of_aws_has_its_type_its_call_and_the_way_out(code: str, way_out: str):
    error = exceptions.ClientError({"Error": {"Code": code, "Message": "Not\nnow."}}, "Query")
    assert explanation(error) == f"{code}: Query: Not now: {way_out}"


def test_an_unknown_error_of_aws_has_no_way_out():
    error = exceptions.ClientError({"Error": {"Code": "Teapot", "Message": "Short."}}, "Query")
    assert explanation(error) == "Teapot: Query: Short"


def test_a_profile_that_does_not_exist_has_a_way_out():
    error = exceptions.ProfileNotFound(profile="night")
    assert explanation(error) == (
        "The config profile (night) could not be found: set AWS_PROFILE to a profile that aws configure list-profiles "
        "prints"
    )


def test_a_fault_of_the_program_is_not_explained():
    assert explanation(KeyError("row")) is None
