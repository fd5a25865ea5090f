"""Runs a program without a change, to find out what a deployment would do, and whether the program runs at all."""

from dataclasses import dataclass, field
from typing import Any

from sandbox.program.code import digest_of_code
from sandbox.program.deploy import TABLE, Deployment, checked_inputs, register_once
from sandbox.program.in_process import Program, Registration, run
from sandbox.resources.catalog import PlaceholderResource, resource
from sandbox.resources.functions import EventSourceMapping, Function

FUNCTION, MAPPING = Function.type, EventSourceMapping.type


@dataclass
class Plan:
    """What a deployment of a program would do. It is the backend of the run: a resource that does not exist is unknown.

    Attributes
    ----------
    functions
        The functions that are new or get other code.
    losses
        What the deployment would delete, as in "the consumer mirror" or "the items of the table orders".
    """

    deployment: Deployment
    functions: list[Registration] = field(default_factory=list[Registration])
    losses: list[str] = field(default_factory=list[str])
    _registered: dict[str, Registration] = field(default_factory=dict[str, Registration])

    @classmethod
    def of(cls, program: Program, deployment: Deployment) -> "Plan":
        """Run the program; an error of the program, or of a resource that the sandbox refuses, is raised as it is."""
        plan = cls(deployment)
        run(program, plan, preview=True)
        plan.losses += [
            loss
            for deployed in deployment.resources
            if deployed.registration.urn not in plan._registered and (loss := _describe(deployed.registration))
        ]
        return plan

    @property
    def is_empty(self) -> bool:
        """Whether the program registers no resource."""
        return not self._registered

    def register(self, registration: Registration) -> tuple[str, dict[str, Any]]:
        """Return the id and the outputs of the deployed resource; an empty id if there is none."""
        register_once(self._registered, registration)
        if not registration.custom or registration.type.startswith("pulumi:"):
            return registration.name, {}
        type_ = resource(registration.type, registration.name, self.deployment.aws)
        deployed = self.deployment.find(registration.urn)
        inputs = checked_inputs(type_, registration, deployed)
        if isinstance(type_, PlaceholderResource):
            return "", {}
        if registration.type == FUNCTION:
            code = digest_of_code(inputs)
            if not deployed or not code or code != deployed.code:
                self.functions.append(registration)
        if not deployed:
            return "", {}
        if registration.type == TABLE and deployed.must_be_replaced(registration, inputs):
            self.losses.append(f"the items of {_describe(registration)}")
            return "", {}
        return deployed.id, {**deployed.outputs, **inputs}

    def invoke(self, token: str, args: dict[str, Any], provider: str) -> dict[str, Any]:
        """Return the result of a function, as a deployment does: a table that the program names may be made for it."""
        return self.deployment.invoke(token, args, provider)


def _describe(registration: Registration) -> str:
    """Return what a function or table is called in the program; empty for other resources, which hold nothing."""
    kind = {FUNCTION: "the consumer ", TABLE: "the table "}.get(registration.type)
    return kind + registration.name_in_program if kind else ""
