# Each target does all of its own set-up and can be the first thing run in a fresh clone.
PYTHON ?= python3
MAKEFLAGS += --jobs=2

.DEFAULT_GOAL := help
.PHONY: help demo sandbox pr test simulate bench check workflows secrets locked format lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.installed .venv-aws/.installed  ## Deploy everything on this machine and watch real changes being processed
	@.venv/bin/python -m sandbox demo

sandbox: .venv/.installed .venv-aws/.installed  ## The same, staying up for changes of your own
	@.venv/bin/python -m sandbox up --outputs .cache/outputs.json

pr: test locked  ## All that a pull request must pass: what CI runs

test: check .venv-aws/.installed  ## Every check and every test
	.venv/bin/python -m pytest -n 2 --dist loadfile

simulate: .venv/.installed  ## Order, once and completeness in 10,000 random histories of failures, other ones each time
	.venv/bin/python -m tests.property --histories 10000

bench: .venv/.installed .venv-aws/.installed  ## What the engine costs, how late it is and how fast it drains, beside stock
	@for question in engine sizes cost drain lateness; do .venv/bin/python -m bench $$question --quick || exit 1; done

check: .venv/.installed policy/.venv/.installed workflows secrets  ## Format, lint, types, workflows and secrets alone
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/basedpyright
	.venv/bin/basedpyright --venvpath policy policy

workflows: .venv/.installed
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	.venv/bin/zizmor --quiet --offline --pedantic --min-severity medium --strict-collection .

secrets: .venv/.installed
	git ls-files -z --cached --others --exclude-standard | xargs -0 .venv/bin/detect-secrets-hook --no-verify

format: .venv/.installed  ## Format the code and mend what the linter can
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

.venv/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) .ci/virtual_environment.py .venv $^

.venv-aws/.installed: sandbox/requirements.txt
	@$(PYTHON) .ci/virtual_environment.py .venv-aws $^

policy/.venv/.installed: policy/requirements.txt
	@$(PYTHON) .ci/virtual_environment.py policy/.venv $^

LOCKS := requirements.txt handler/requirements.txt requirements-dev.txt sandbox/requirements.txt policy/requirements.txt
# Only wheels are shipped, and Lambda's runtime has the SDK: it stays out unless handler/requirements.in asks for it.
FOR_handler/requirements.txt := --only-binary :all: --excludes /dev/stdin
SDK := $(if $(shell grep -iE '^(boto3|botocore|s3transfer)([^a-z0-9._-]|$$)' handler/requirements.in),,boto3 botocore s3transfer)
# Dependabot takes these options from a lock's first lines.
EVERY_PYTHON := --universal --python-version 3.11
# $(call compile,LOCK,OUTPUT): versions that stand in OUTPUT stay, unless told --upgrade. One lock is for every Python
# from 3.11 on and every platform: its markers say which lines are for which.
compile = printf '%s\n' $(SDK) | .venv/bin/uv pip compile --quiet --generate-hashes --no-annotate --no-emit-index-url \
	$(EVERY_PYTHON) --custom-compile-command 'make lock, by uv pip compile $(EVERY_PYTHON)' $(FOR_$(1)) $(1:.txt=.in) -o $(2)

lock: .venv/.installed  ## Lock every requirements.in again, at the newest versions (with UPGRADE= only what changed)
	$(foreach lock,$(LOCKS),$(call compile,$(lock),$(lock)) $(UPGRADE) &&) true
UPGRADE := --upgrade

locked: .venv/.installed
	@rm -rf .cache/locks
	@$(foreach lock,$(LOCKS),mkdir -p .cache/locks/$(dir $(lock)) && cp $(lock) .cache/locks/$(lock) && \
		$(call compile,$(lock),.cache/locks/$(lock)) && diff -u $(lock) .cache/locks/$(lock) &&) true \
		|| { echo "the locks are not what requirements.in asks for: make lock UPGRADE="; false; }

clean:  ## Remove what make made
	rm -rf .venv .venv-aws policy/.venv .cache
