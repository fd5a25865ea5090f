# Each target does all of its own set-up and can be the first thing run in a fresh clone.
PYTHON ?= python3
MAKEFLAGS += --jobs=2

.DEFAULT_GOAL := help
.PHONY: help demo sandbox test prove bench check format lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.installed .venv-aws/.installed  ## Deploy everything on this machine and watch real changes being processed
	@.venv/bin/python -m sandbox demo

sandbox: .venv/.installed .venv-aws/.installed  ## The same, staying up for changes of your own
	@.venv/bin/python -m sandbox up --outputs .cache/outputs.json

test: check .venv-aws/.installed  ## Linter, type checker and every test
	.venv/bin/python -m pytest

prove: .venv/.installed  ## Order, once and completeness in 10,000 random histories of failures, other ones each time
	HISTORIES=10000 .venv/bin/python -m pytest -q tests/property

bench: .venv/.installed  ## What the engine costs, as ratios to its peers in the same run
	@.venv/bin/python -m bench.engine

check: .venv/.installed policy/.venv/.installed  ## Linter and type checker alone
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/basedpyright
	.venv/bin/basedpyright --venvpath policy policy

format: .venv/.installed  ## Format the code and mend what the linter can
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

.venv/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) sandbox/environment.py .venv $^

.venv-aws/.installed: sandbox/requirements.txt
	@$(PYTHON) sandbox/environment.py .venv-aws $^

policy/.venv/.installed: policy/requirements.txt
	@$(PYTHON) sandbox/environment.py policy/.venv $^

LOCK := .venv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-emit-index-url \
	--python-version 3.11 --custom-compile-command 'make lock'
RUNTIME_HAS := boto3 botocore s3transfer python-dateutil six urllib3

lock: .venv/.installed  ## Lock every requirements.in again, at the newest versions it allows
	$(LOCK) --universal requirements.in -o requirements.txt
	$(LOCK) --python-platform x86_64-manylinux_2_28 $(RUNTIME_HAS:%=--no-emit-package %) handler/requirements.in -o handler/requirements.txt
	$(LOCK) --universal requirements-dev.in -o requirements-dev.txt
	$(LOCK) --universal sandbox/requirements.in -o sandbox/requirements.txt
	$(LOCK) --universal policy/requirements.in -o policy/requirements.txt

clean:  ## Remove what make made
	rm -rf .venv .venv-aws policy/.venv .cache
