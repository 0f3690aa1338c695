"""No random draw in the package comes from anything but a seed that was handed in."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p for p in ROOT.rglob("*.py") if not {".env", "tests", "build", "dist"} & set(p.relative_to(ROOT).parts))
SEEDED = {"default_rng", "SeedSequence", "PCG64", "Philox", "MT19937", "SFC64"}
CLOCKS = {"time", "time_ns", "monotonic", "perf_counter", "now", "urandom", "getpid", "token_bytes", "randbits", "uuid4"}


def called(node):
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def unseeded(source):
    """Lines that make a generator without a seed, or from a clock or the system's entropy."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and called(node) in SEEDED:
            inner = {called(n) for n in ast.walk(node) if isinstance(n, ast.Call)}
            nothing = not node.args and not node.keywords
            none = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value is None
            if nothing or none or inner & CLOCKS:
                yield node.lineno


@pytest.mark.parametrize(
    "line, bad",
    [
        ("np.random.default_rng()", True),
        ("default_rng(None)", True),
        ("default_rng(int(time.time()))", True),
        ("np.random.SeedSequence()", True),
        ("np.random.default_rng(3)", False),
        ("np.random.SeedSequence(seed, spawn_key=(1,))", False),
    ],
)
def test_the_rule_itself(line, bad):
    assert bool(list(unseeded(line))) == bad


def test_every_generator_has_a_seed():
    assert len(SOURCES) > 40
    found = [f"{p.relative_to(ROOT)}:{line}" for p in SOURCES for line in unseeded(p.read_text(encoding="utf-8"))]
    assert not found
