"""What of handler/requirements.txt is shipped for which target, and what of it is refused as incomplete."""

import sys
from pathlib import Path

import pulumi
import pytest

from infra.archive import build
from infra.archive.lock import read
from infra.archive.targets import Target, environment
from tests.infra.archive.archives import contents, lock_entry, project, put, refusals, wheel

HERE = f"host (Python 3.{sys.version_info.minor})"
LAMBDA = "arm64 (Python 3.13)"


def shipped_packages(target: Target, root: Path) -> set[str]:
    """Names of the packages in the archive."""
    names = contents(build(target, root).path)
    return {name.split("-1.0.dist-info/")[0] for name in names if name.endswith("/WHEEL")}


def with_marker(lock: str, marker: str) -> str:
    return lock.replace(" \\", f" ; {marker} \\")


@pytest.mark.parametrize(
    ("marker", "targets"),
    [
        ("python_version >= '3.13'", {"arm64", "x86_64"}),
        ("python_full_version >= '3.13'", {"arm64", "x86_64"}),
        ("python_version < '3.13'", set[str]()),
        ("platform_machine == 'aarch64'", {"arm64"}),
        ("platform_machine == 'x86_64'", {"x86_64"}),
        ("sys_platform == 'linux' and platform_system == 'Linux' and os_name == 'posix'", {"arm64", "x86_64"}),
        ("sys_platform == 'win32' or implementation_name == 'pypy'", set[str]()),
    ],
)
def test_a_marker_is_judged_for_the_target_and_not_for_this_interpreter(
    tmp_path: Path, marker: str, targets: set[str]
) -> None:
    root = project(tmp_path, f"pure==1.0 ; {marker} --hash=sha256:00\n")
    fitting_targets: set[str] = {
        target for target in ("arm64", "x86_64") if "pure" in read(root / "handler", target).pip_input
    }
    assert fitting_targets == targets


def test_the_host_s_markers_are_those_of_this_interpreter() -> None:
    assert environment("host")["python_version"] == f"3.{sys.version_info.minor}"
    assert environment("host").keys() == environment("arm64").keys()


def test_one_lock_serves_targets_that_need_different_packages(tmp_path: Path, index: Path) -> None:
    """As webob does, which needs legacy-cgi where Python has no cgi any more."""
    lock = wheel(index, "webby", requires=["older_cgi>=0.9; python_version >= '3.13'"])
    lock += with_marker(wheel(index, "older_cgi"), "python_full_version >= '3.13'")
    root = project(tmp_path, lock, requirements="webby")
    assert shipped_packages("arm64", root) == {"webby", "older_cgi"}
    assert shipped_packages("host", root) == {"webby"} | ({"older_cgi"} if sys.version_info >= (3, 13) else set())


def test_a_wheel_that_lacks_what_it_needs_on_the_target_is_refused(tmp_path: Path, index: Path) -> None:
    needs = ["older_cgi>=0.9; python_version >= '3.13'", "other; sys_platform == 'linux'", "more; extra == 'all'"]
    lock = wheel(index, "webby", requires=needs)
    root = project(tmp_path / "one", lock)
    assert refusals(root, "arm64") == [
        f"webby 1.0 needs {need}, which handler/requirements.txt lacks for {LAMBDA}: run make lock; if that does not "
        "help, add it to handler/requirements.in"
        for need in ('older_cgi>=0.9; python_version >= "3.13"', 'other; sys_platform == "linux"')
    ]
    lock += wheel(index, "older_cgi", version="0.8") + with_marker(wheel(index, "other"), "python_version < '3.13'")
    assert refusals(project(tmp_path / "two", lock, requirements="webby"), "arm64") == [
        'webby 1.0 needs older_cgi>=0.9; python_version >= "3.13", but handler/requirements.txt has older-cgi 0.8: run '
        "make lock",
        'webby 1.0 needs other; sys_platform == "linux", which handler/requirements.txt has only where '
        f'python_version < "3.13", not for {LAMBDA}: run make lock',
    ]


def test_extras_bring_their_own_requirements_whoever_asks_for_them(tmp_path: Path, index: Path) -> None:
    lock = wheel(index, "top", requires=["middle[Fast_Path]; extra == 'tracer'"])
    lock += wheel(index, "middle", requires=["bottom; extra == 'fast-path'"])
    assert shipped_packages("host", project(tmp_path / "one", lock, requirements="top")) == {"top", "middle"}
    (message,) = refusals(project(tmp_path / "two", lock, requirements="top[tracer]"))
    assert message.startswith(
        f'middle 1.0 needs bottom; extra == "fast-path", which handler/requirements.txt lacks for {HERE}'
    )


def test_a_requirement_that_its_marker_excludes_is_reported(
    tmp_path: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = with_marker(wheel(index, "pure"), "python_version < '3.0'")
    root = project(tmp_path, lock, requirements="pure; python_version < '3.0'  # an old one\n")
    for _ in range(2):  # from the cache, too
        assert shipped_packages("host", root) == set()
        assert capsys.readouterr().err == (
            f'info: handler/requirements.in: pure; python_version < "3.0" is left out: its marker excludes {HERE}\n'
        )


def test_what_is_asked_for_and_not_locked_is_refused(tmp_path: Path, index: Path) -> None:
    lock = with_marker(wheel(index, "pure"), "python_version < '3.0'") + wheel(index, "old")
    requirements = "-c constraints.txt\npure >= 1.0 \\\n  , < 2\nnew; python_version >= '3'\n-r more.in\n"
    root = project(tmp_path, lock, requirements=requirements)
    put(root / "handler" / "more.in", "old>1.0  # a comment\n")
    assert refusals(root) == [
        'handler/requirements.in asks for new; python_version >= "3", which handler/requirements.txt lacks for '
        f"{HERE}: run make lock; if that does not help, add it to handler/requirements.in",
        "handler/requirements.in asks for old>1.0, but handler/requirements.txt has old 1.0: run make lock",
        "handler/requirements.in asks for pure<2,>=1.0, which handler/requirements.txt has only where "
        f'python_version < "3.0", not for {HERE}: run make lock',
    ]


def test_an_archive_in_the_cache_does_not_answer_for_another_requirements_in(tmp_path: Path, index: Path) -> None:
    root = project(tmp_path, wheel(index, "pure"))
    build("host", root)
    put(root / "handler" / "requirements.in", "pure>1")
    with pytest.raises(pulumi.RunError, match=r"asks for pure>1, but handler/requirements\.txt has pure 1\.0"):
        build("host", root)


def test_without_requirements_in_the_lock_itself_is_what_is_asked_for(
    tmp_path: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = wheel(index, "pure") + with_marker(wheel(index, "other"), "python_version < '3.0'")
    root = project(tmp_path, lock)
    (root / "handler" / "requirements.in").unlink()
    assert shipped_packages("host", root) == {"pure"}
    assert f'other==1.0; python_version < "3.0" is left out: its marker excludes {HERE}' in capsys.readouterr().err


@pytest.mark.parametrize(("file", "line"), [("requirements.in", "./local.whl"), ("requirements.txt", "pure=1.0")])
def test_a_line_that_is_no_requirement_is_refused(tmp_path: Path, file: str, line: str) -> None:
    root = project(tmp_path, "")
    put(root / "handler" / file, f"{line} --hash=sha256:00\n")
    (message,) = refusals(root)
    assert message.startswith(f"handler/{file}: '{line}' is not a valid requirement such as name==1.0 or name @ URL: ")


def test_a_wheel_with_a_requirement_that_is_none_is_refused(tmp_path: Path, index: Path) -> None:
    (message,) = refusals(project(tmp_path, wheel(index, "pure", requires=["other (>dev)"])))
    assert message in (
        "pure-1.0-py3-none-any.whl requires 'other (>dev)', which is not a valid requirement: use another version",
        "pure 1.0 of handler/requirements.txt has invalid metadata, so that pip ignores it: use another version",
    ), "pip ignores such a wheel since 24.1"


SDK = ("boto3", "botocore", "s3transfer", "six")


def sdk(index: Path) -> str:
    """boto3 1.0 with all that it needs."""
    needs = {"boto3": ["botocore<1.1,>=1.0", "s3transfer"], "botocore": ["six>=1"], "s3transfer": [], "six": []}
    return "".join(wheel(index, name, requires=needs[name]) for name in SDK)


def test_the_runtime_s_sdk_stays_out_where_nobody_asks_for_it(tmp_path: Path, index: Path) -> None:
    needs = ["boto3>=1.26", "botocore<2,>=1.11.3", "s3transfer~=0.10"]
    zeros = "".join(f"{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\n" for name in SDK[:3])  # none of them is downloaded
    root = project(tmp_path, zeros + wheel(index, "traced", requires=needs), requirements="traced")
    assert shipped_packages("arm64", root) == {"traced"}


@pytest.mark.parametrize("name", ["boto3", "BotoCore", "s3transfer"])
def test_the_sdk_is_shipped_whole_where_it_is_asked_for(tmp_path: Path, index: Path, name: str) -> None:
    assert shipped_packages("arm64", project(tmp_path, sdk(index), requirements=f"{name}<1.1")) == set(SDK)


def test_an_sdk_that_is_asked_for_is_not_taken_from_the_runtime(tmp_path: Path, index: Path) -> None:
    (message,) = refusals(project(tmp_path, wheel(index, "six"), requirements="six\nboto3"), "arm64")
    assert message.startswith(
        f"handler/requirements.in asks for boto3, which handler/requirements.txt lacks for {LAMBDA}"
    )


@pytest.mark.parametrize("need", ["botocore>=1.40.46", "botocore<1.41", "botocore==1.40.46", "botocore<1"])
def test_a_wheel_that_the_runtime_s_sdk_may_not_suit_is_refused(tmp_path: Path, index: Path, need: str) -> None:
    """Which SDK the runtime has is Lambda's to change."""
    (message,) = refusals(project(tmp_path, wheel(index, "pinned", requires=[need])), "arm64")
    assert message == (
        f"pinned 1.0 needs {need}, but Lambda's runtime may have any botocore from 1.35.0 on: add botocore to "
        "handler/requirements.in, to ship it, and run make lock"
    )


def test_a_requirement_by_address_is_one(tmp_path: Path, index: Path) -> None:
    wheel(index, "pure")
    path = index / "pure-1.0-py3-none-any.whl"
    lock = lock_entry("pure", path).replace("pure==1.0", f"pure @ {path.as_uri()}")
    assert shipped_packages("host", project(tmp_path, lock, requirements=f"pure @ {path.as_uri()}")) == {"pure"}
