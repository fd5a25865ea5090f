# Each target sets up everything that it needs, so that any target can be the first in a fresh clone.
PYTHON ?= python3
MAKEFLAGS += --jobs=2
# Without compiled modules, each command compiles its packages again: the tests start hundreds of commands.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo sandbox mine pr test roles simulate bench check workflows secrets locked format lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.installed .venv-aws/.installed  ## Deploy everything on this machine and watch it process real changes
	@.venv/bin/python -m sandbox demo

sandbox: .venv/.installed .venv-aws/.installed  ## Deploy everything here and keep it running, at 4566 or at PORT=
	@.venv/bin/python -m sandbox up --outputs .cache/outputs.json $(if $(PORT),--port $(PORT))

mine: .venv/.tests  ## Run the tests of your own consumers
	@.venv/bin/python -m pytest -q tests/mine

pr: test locked  ## Run everything that a pull request must pass, as CI does

# CI compares docs/roles with the program; elsewhere, `make test` first adds a new consumer to docs/roles.
test: check .venv/.tests .venv-aws/.installed $(if $(CI),,roles)  ## Run every check and every test
	.venv/bin/python -m pytest -n 2 --dist loadfile

roles: .venv/.installed  ## Write the permissions of the pipeline's roles, docs/roles, from the program
	.venv/bin/python -m tests.program.role_documents

simulate: .venv/.tests  ## Check order, once and completeness in 10,000 new random histories of failures
	.venv/bin/python -m tests.property --histories 10000

bench: .venv/.installed .venv-aws/.installed  ## Measure speed beside peers and say what is good; with QUICK=1, a part
	@.venv/bin/python -m bench $(if $(QUICK),--quick)

check: .venv/.checks policy/.venv/.installed workflows secrets  ## Check format, lint, types, workflows and secrets
	.venv/bin/ruff format --check $(OURS)
	.venv/bin/ruff check .
	.venv/bin/basedpyright
	.venv/bin/basedpyright --venvpath policy policy

# The user's own code has the format of its user; make format has ours for it.
OURS := .ci bench handler/stream infra ops policy sandbox $(filter-out tests/mine tests/example,$(wildcard tests/*))

workflows: .venv/.checks
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	.venv/bin/zizmor --quiet --offline --pedantic --min-severity medium --strict-collection .

secrets: .venv/.checks
	git ls-files -z --cached --others --exclude-standard | xargs -0 .venv/bin/detect-secrets-hook --no-verify

format: .venv/.checks  ## Format the code and apply the linter's fixes
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# The first of these files has pip and uv for the others.
.venv/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) .ci/virtual_environment.py $@ $^

.venv/.tests: requirements-test.txt | .venv/.installed
	@$(PYTHON) .ci/virtual_environment.py $@ $^

.venv/.checks: requirements-check.txt | .venv/.tests
	@$(PYTHON) .ci/virtual_environment.py $@ $^

.venv-aws/.installed: sandbox/requirements.txt | .venv/.installed
	@$(PYTHON) .ci/virtual_environment.py $@ $^

policy/.venv/.installed: policy/requirements.txt | .venv/.installed
	@$(PYTHON) .ci/virtual_environment.py $@ $^

LOCKS := requirements.txt handler/requirements.txt requirements-dev.txt requirements-test.txt requirements-check.txt \
	sandbox/requirements.txt policy/requirements.txt
# The archive holds only wheels. Lambda's runtime has the SDK, so the lock omits it unless handler/requirements.in names it.
FOR_handler/requirements.txt := --only-binary :all: --excludes /dev/stdin
SDK := $(if $(shell grep -iE '^(boto3|botocore|s3transfer)([^a-z0-9._-]|$$)' handler/requirements.in),,boto3 botocore s3transfer)
# Dependabot reads these options in the first lines of each lock.
EVERY_PYTHON := --universal --python-version 3.11
# $(call compile,LOCK,OUTPUT) keeps the versions in OUTPUT, unless --upgrade follows. One lock serves every Python from
# 3.11 on and every platform: its markers select the lines.
compile = printf '%s\n' $(SDK) | .venv/bin/python .ci/pip_configuration.py .venv/bin/uv pip compile --quiet --generate-hashes --no-annotate --no-emit-index-url \
	$(EVERY_PYTHON) --custom-compile-command 'make lock, by uv pip compile $(EVERY_PYTHON)' $(FOR_$(1)) $(1:.txt=.in) -o $(2)

lock: .venv/.installed  ## Lock every requirements.in at the newest versions; with UPGRADE= keep locked versions
	$(foreach lock,$(LOCKS),$(call compile,$(lock),$(lock)) $(UPGRADE) &&) true
UPGRADE := --upgrade

locked: .venv/.installed
	@rm -rf .cache/locks
	@$(foreach lock,$(LOCKS),mkdir -p .cache/locks/$(dir $(lock)) && cp $(lock) .cache/locks/$(lock) && \
		$(call compile,$(lock),.cache/locks/$(lock)) && diff -u $(lock) .cache/locks/$(lock) &&) true \
		|| { echo "the locks do not match requirements.in: run make lock UPGRADE="; false; }

clean:  ## Remove everything that make created
	rm -rf .venv .venv-aws policy/.venv .cache
