#!/usr/bin/env bash
# All checks: lint, format, types, tests. Makes what is missing first; arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

cd "$ROOT"
ensure_environment dev
ensure_vulkan
ensure_disassembler

say "ruff check"
"$VENV/bin/python" -m ruff check .
say "ruff format --check"
"$VENV/bin/python" -m ruff format --check .
say "mypy"
"$VENV/bin/python" -m mypy

ensure_model
ensure_test_artifact
export FERRY_TEST_GGUF="$MODEL"
export FERRY_TEST_ARTIFACT="$TEST_ARTIFACT"

say "pytest (the reason of every skip is listed at the end)"
"$VENV/bin/python" -m pytest -n 2 -rs "$@"
say "all checks passed"
