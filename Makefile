# Each target makes the environments it needs, from pinned requirements, at first use.
PYTHON ?= python3

.PHONY: help demo test build clean

help:
	@echo "make demo    render, train and segment; ends with a report to open in a browser"
	@echo "make test    lint and test everything (ALL=1: on every supported Blender)"
	@echo "make build   the extension's zips for all platforms, in dist/"
	@echo "make clean   delete everything that these have made"

demo:
	$(PYTHON) tools/demo.py

test:
	$(PYTHON) tools/check.py $(if $(ALL),--all)

build:
	$(PYTHON) tools/build.py

clean:
	rm -rf .env build dist demo .pytest_cache .ruff_cache
