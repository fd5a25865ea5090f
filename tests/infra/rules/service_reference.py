"""Derive infra/rules/unscoped.json from AWS's service reference, of which cfn-lint ships a copy.

Run `python -m tests.infra.rules.service_reference` after an update of cfn-lint. cfn-lint takes it from
servicereference.us-east-1.amazonaws.com, which AWS keeps for programs; other packages parse AWS's web pages and lag
behind. The reference says which types of resources an action knows, not whether a call must name one: what is called
on a phone number (`sns:Publish`) or without a lexicon (`polly:SynthesizeSpeech`) is still accepted beside its grant.
"""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[3] / "infra" / "rules" / "unscoped.json"

LAMBDA_IN_VPC = [
    "assignprivateipaddresses",
    "createnetworkinterface",
    "deletenetworkinterface",
    "unassignprivateipaddresses",
]
"""Calls of EC2 that a function's role needs on `*` for a VPC, though EC2 has types of resources for them.

Lambda chooses the network interfaces (AWS's policy AWSLambdaVPCAccessExecutionRole v3, January 2024; seen in November
2026), and a function whose role names others may not reach the VPC (Lambda: configuring a function for a VPC).
"""


def reference() -> Mapping[str, Any]:
    """Return each service's `Actions`, by name in lower case, and `Resources`."""
    file = metadata.distribution("cfn-lint").locate_file("cfnlint/data/AdditionalSpecs/Policies.json")
    return json.loads(Path(str(file)).read_text(encoding="utf-8"))


def unscoped() -> str:
    """Return the text of unscoped.json: each service's actions without a type of resource, one service a line."""
    services: dict[str, list[str]] = {}
    for service, known in sorted(reference().items()):
        calls = {call for call, about in known["Actions"].items() if not about.get("Resources")}
        if calls == known["Actions"].keys():
            services[service] = ["*"]
        elif calls:
            services[service] = sorted(calls.union(LAMBDA_IN_VPC if service == "ec2" else ()))
    source = f"AWS's service reference, as cfn-lint {metadata.version('cfn-lint')} has it; see {Path(__file__).name}"
    lines = ",\n".join(json.dumps({service: calls}, separators=(",", ":"))[1:-1] for service, calls in services.items())
    return f'{{"source": {json.dumps(source)}, "services": {{\n{lines}\n}}}}\n'


if __name__ == "__main__":
    FILE.write_text(unscoped(), encoding="utf-8")
