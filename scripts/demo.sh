#!/usr/bin/env bash
# From nothing to an answer: makes an environment, fetches a small model, compiles it, runs it.
# Steps whose result is there already are skipped; everything stays inside this folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

PROMPT="${1:-Explain in two sentences why the sky is blue.}"

ensure_environment demo
ensure_model
ensure_demo_artifact

say "ferry run ${DEMO_ARTIFACT#"$ROOT"/} --temp 0 -p \"$PROMPT\""
"$VENV/bin/ferry" run "$DEMO_ARTIFACT" --temp 0 --max-tokens 128 -p "$PROMPT"

say "how fast it is here"
"$VENV/bin/ferry" bench "$DEMO_ARTIFACT" -p 128 -n 32 -r 3

say "the artifact lies in ${DEMO_ARTIFACT#"$ROOT"/}: $(du -sh "$DEMO_ARTIFACT" | cut -f1)"
say "to talk to it: ${VENV#"$ROOT"/}/bin/ferry chat ${DEMO_ARTIFACT#"$ROOT"/}"
