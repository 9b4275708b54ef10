# Sets `python` to the first Python that can run the bundle in the folder $1.
find_python() {
    reasons=
    candidates="python3 python3.14 python3.13 python3.12 python3.11 python3.10"
    if [ -n "${FERRY_PYTHON:-}" ]; then
        try_python "$1" "$FERRY_PYTHON" && return 0
    else
        for candidate in $candidates; do
            try_python "$1" "$candidate" && return 0
        done
    fi
    echo "error: ${reasons:-no python3 in PATH}; wanted a Python that this bundle has packages for" \
        "($1/bundle.json); install one, or name one with FERRY_PYTHON" >&2
    return 1
}

try_python() {
    command -v "$2" >/dev/null 2>&1 || return 1
    if reason=$("$2" -I -S "$1/scripts/suitable.py" 2>/dev/null); then
        python=$2
        return 0
    fi
    reasons="${reasons:+$reasons, }$2 ${reason:-does not start}"
    return 1
}
