"""Reads pip's configuration of this machine and says the same to uv; as a script, it runs uv so."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping

VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "retries": ("UV_HTTP_RETRIES", " "),
    "keyring-provider": ("UV_KEYRING_PROVIDER", " "),
}
"""uv's variable for an option of pip, and what separates several values."""
WITHOUT_EFFECT = {
    *("break-system-packages", "cache-dir", "config-file", "disable-pip-version-check", "log", "no-cache-dir"),
    *("no-color", "no-compile", "no-input", "no-python-version-warning", "no-warn-script-location", "prefer-binary"),
    *("progress-bar", "quiet", "require-hashes", "require-virtualenv", "root-user-action", "use-feature", "verbose"),
}
"""Options that change nothing about which files are installed, and from where."""
SECTIONS = ("global", "install", ":env:")
"""The sections that pip install reads; each overrides the sections before it."""


def read(pip: list[str]) -> dict[str, str]:
    """Return the configuration of the command `pip` from its files and from the environment: values by option."""
    command = [*pip, "--disable-pip-version-check", "config", "list"]
    text = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for section, name, value in re.findall(r"^(:env:|[\w-]+)\.([\w-]+)=(['\"].*)$", text, re.MULTILINE):
        if section in found:
            found[section][name] = ast.literal_eval(value)
    return {name: value for section in SECTIONS for name, value in found[section].items()}


def uv_variables(configuration: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the environment variables that give uv the same configuration.

    Without an index of its own, uv would take the first index that has a package; pip takes the best of all indexes. uv
    trusts the certificates of the system. Returns None if uv cannot do what the configuration says.
    """
    if any(name not in VARIABLES and name not in WITHOUT_EFFECT and name != "proxy" for name in configuration):
        return None
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    certificates = environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE")
    if certificates:
        variables["SSL_CERT_FILE"] = certificates
    if configuration.get("proxy"):
        proxy = configuration["proxy"]
        address = proxy if "://" in proxy else f"http://{proxy}"
        variables.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), address))
    for name, value in configuration.items():
        if name in VARIABLES and value.strip():
            variable, separator = VARIABLES[name]
            variables[variable] = separator.join(value.split())
    return variables


def main(command: list[str]) -> None:
    """Replace this process by a command that locks, with the package index that pip has here.

    Wheels in directories of this machine are left out, since their hashes belong in no lock.
    """
    configuration = read([sys.executable, "-m", "pip"])
    configuration.pop("find-links", None)
    variables = uv_variables(configuration, os.environ) or {}
    os.execve(command[0], command, {**os.environ, **variables})  # noqa: S606 -- the Makefile's own command


if __name__ == "__main__":
    main(sys.argv[1:])
