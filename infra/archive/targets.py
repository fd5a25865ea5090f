"""The targets that the functions' archive can be built for."""

import platform
import sys
from collections.abc import Mapping
from typing import Literal

from packaging.markers import default_environment
from packaging.tags import sys_tags

Target = Literal["arm64", "x86_64", "host"]
"""Lambda's two architectures, or the interpreter that runs the program."""

PYTHON = (3, 13)
"""Lambda's runtime, except for the target `host`."""

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}

# Amazon Linux 2023 has glibc 2.34. pip matches each platform tag literally, so the older tags are listed too.
PLATFORMS = {
    target: [f"manylinux_2_{minor}_{machine}" for minor in range(34, 16, -1)] + [f"manylinux2014_{machine}"]
    for target, machine in MACHINES.items()
}


def runtime(target: Target) -> str:
    """Return the name of Lambda's runtime for `target`; for `host`, the name that this interpreter would have."""
    return f"python{_version(target)}"


def architecture(target: Target) -> str:
    """Return Lambda's name for the architecture of `target`."""
    if target != "host":
        return target
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def display_name(target: Target) -> str:
    """Return `target` as messages show it, for example `arm64 (Python 3.13)`."""
    return f"{target} (Python {_version(target)})"


def environment(target: Target) -> Mapping[str, str]:
    """Return the environment markers of `target`, such as `python_version` and `platform_machine`."""
    if target == "host":
        return {name: str(value) for name, value in default_environment().items()}
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{_version(target)}.0",  # Lambda does not document its patch release
        "os_name": "posix",
        "platform_machine": MACHINES[target],
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{_version(target)}.0",
        "python_version": _version(target),
        "sys_platform": "linux",
    }


def pip_options(target: Target) -> list[str]:
    """Return the options with which pip selects wheels for `target`; none for `host`, where pip itself runs."""
    if target == "host":
        return []
    platforms = [f"--platform={name}" for name in PLATFORMS[target]]
    return [*platforms, "--implementation=cp", f"--python-version={_version(target)}"]


def tag(target: Target) -> str:
    """Return a tag that determines which wheels fit `target`: builds with the same tag select the same wheels."""
    return str(next(sys_tags())) if target == "host" else f"{target}-{_version(target)}"


def _version(target: Target) -> str:
    major, minor = sys.version_info[:2] if target == "host" else PYTHON
    return f"{major}.{minor}"
