# Each target makes the environments it needs, from pinned requirements, at first use.
PYTHON ?= python3

.PHONY: help demo test test-blender build clean

help:
	@echo "make demo    render, train and segment; ends with a report to open in a browser"
	@echo "make test    lint and test everything (ALL=1: on every supported Blender)"
	@echo "make test-blender  try the extension in a real Blender, its window included (Debian, as root)"
	@echo "make build   the extension's zips for all platforms, in dist/"
	@echo "make clean   delete everything that these have made"

demo:
	$(PYTHON) tools/demo.py

test:
	$(PYTHON) tools/check.py $(if $(ALL),--all)

test-blender:
	$(PYTHON) tools/real_blender.py

build:
	$(PYTHON) tools/build.py

clean:
	rm -rf .env build dist demo .pytest_cache .ruff_cache
