# Wraps python3 -m venv and pip; README.md gives the same lines for who has no make.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: setup app test audit
setup: .venv/installed

.venv/installed: requirements.txt requirements-train.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps distillmos==0.9.1  # for its weights alone
	touch $@

app: setup
	$(BIN)/python app.py $(ARGS)

test: setup
	$(BIN)/python tests/browser/find_browser.py
	$(BIN)/python -m pytest $(ARGS)

# Known advisories about what is installed. Asks pypi.org; what it does not find there counts as a failure.
audit: setup
	test -x .venv/audit/bin/pip-audit || $(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python -m pip list --format freeze --disable-pip-version-check | sed 's/+.*//' > .venv/audit/installed.txt
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r .venv/audit/installed.txt
