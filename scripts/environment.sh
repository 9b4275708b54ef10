# Sourced by demo.sh and test.sh: steps that make what is missing and skip what is there.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${FERRY_VENV:-$ROOT/.venv}"
MODEL_FOLDER="$ROOT/.cache/models"
DEMO_ARTIFACT="$ROOT/dist/smollm2-135m-q4f16"
TEST_ARTIFACT="$ROOT/.cache/smollm2-135m-q4f16-tests"

say() {
    printf '== %s\n' "$*"
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Prints the first Python that is new enough; FERRY_PYTHON names one outright.
find_python() {
    local candidate
    for candidate in ${FERRY_PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no Python 3.10 or newer with the module venv was found (tried ${FERRY_PYTHON:-python3 and python3.13 to python3.10});" \
        "install one (on Debian: python3 and python3-venv) or name it with FERRY_PYTHON"
}

# Makes the virtual environment with this project in it, editable, and the wanted extra packages.
# $1: "demo" or "dev". Does nothing when this pyproject.toml was installed already.
ensure_environment() {
    local kind="$1" stamp="$VENV/.ferry-$1" wanted python
    if [[ ! -x "$VENV/bin/python" ]]; then
        python="$(find_python)"
        say "making a virtual environment in ${VENV#"$ROOT"/} with $("$python" --version)"
        "$python" -m venv "$VENV" ||
            die "the virtual environment could not be made; on Debian install python3-venv"
    fi
    # The folder counts too: an editable installation breaks when the folder is moved.
    wanted="$ROOT $(build_inputs | cksum)"
    if [[ -f "$stamp" && "$(< "$stamp")" == "$wanted" ]]; then
        say "environment: ${VENV#"$ROOT"/} is up to date"
        return
    fi
    say "installing ferrylm and what it needs (TVM is 100 MB; this takes a minute or two)"
    rm -f "$stamp"
    ensure_compiler
    if [[ "$kind" == dev ]]; then
        pip_install -e "$ROOT[compile,cuda,cuda-inspect,bundle]"
    else
        pip_install -e "$ROOT[compile]"
    fi
    if [[ "$kind" == dev ]]; then
        # Read here, because older pips do not know --group.
        local packages
        packages="$("$VENV/bin/python" "$ROOT/scripts/dev_packages.py")" ||
            die "the development packages could not be read from pyproject.toml"
        # shellcheck disable=SC2086 # one word for each package
        pip_install $packages
    fi
    printf '%s\n' "$wanted" > "$stamp"
}

# Prints what the installation is built of: it holds the compiled libraries of native/.
build_inputs() {
    cat "$ROOT/pyproject.toml" "$ROOT/scripts/environment.sh"
    if [[ -d "$ROOT/native" ]]; then
        cat "$ROOT/CMakeLists.txt"
        find "$ROOT/native" -type f -exec cksum {} + | LC_ALL=C sort
    fi
}

# Makes sure that the native libraries can be compiled.
ensure_compiler() {
    local candidate
    for candidate in ${CXX:-c++ g++ clang++}; do
        if command -v "$candidate" > /dev/null; then
            return
        fi
    done
    say "installing a C++ compiler"
    install_debian_packages g++ ||
        die "a C++17 compiler is needed for the native libraries; install one" \
            "(Debian, Ubuntu: g++; Fedora: gcc-c++; Arch: gcc) or name it with CXX"
}

# Makes sure that there is the Vulkan device of the tests (tests/conftest.py chooses it): the named
# one, or Mesa's software one.
ensure_vulkan() {
    if vulkan_device_is_there; then
        say "Vulkan: a loader and the tests' driver are there"
        return
    fi
    say "installing a Vulkan loader and Mesa's drivers"
    if ! install_debian_packages libvulkan1 mesa-vulkan-drivers || ! vulkan_device_is_there; then
        die "the tests need a Vulkan loader and a driver; install them" \
            "(Debian, Ubuntu: libvulkan1 mesa-vulkan-drivers; Fedora: vulkan-loader" \
            "mesa-vulkan-drivers; Arch: vulkan-icd-loader vulkan-swrast)"
    fi
}

vulkan_device_is_there() {
    local folder
    "$VENV/bin/python" -c 'import ctypes; ctypes.CDLL("libvulkan.so.1")' 2> /dev/null || return 1
    [[ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]] || return 0
    for folder in /usr/share /usr/local/share /etc; do
        if compgen -G "$folder/vulkan/icd.d/lvp_icd*.json" > /dev/null; then
            return 0
        fi
    done
    return 1
}

# Makes sure that code for AMD GPUs can be disassembled; without that, tests of it are skipped.
ensure_disassembler() {
    if disassembler_is_there; then
        say "llvm-objdump: one that knows AMD's chips is there"
        return
    fi
    say "installing llvm-objdump"
    if ! install_debian_packages llvm-19 || ! disassembler_is_there; then
        say "no llvm-objdump of LLVM 19 or newer: tests that read AMD code will be skipped"
    fi
}

disassembler_is_there() {
    "$VENV/bin/python" -c 'import sys
from ferrylm.compile.rocm.disassembly import find_disassembler
sys.exit(find_disassembler() is None)' 2> /dev/null
}

# Installs packages where that is possible without asking: Debian's tools, and the right to use them.
install_debian_packages() {
    [[ "$(id -u)" == 0 ]] && command -v apt-get > /dev/null || return 1
    apt-get -qq update > /dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" \
        > /dev/null || return 1
}

pip_install() {
    "$VENV/bin/python" -m pip --quiet --disable-pip-version-check install "$@" ||
        die "pip could not install $*; its message is above." \
            "If the environment is damaged, delete ${VENV#"$ROOT"/} and start again"
}

# Sets MODEL to the path of the checked GGUF file.
ensure_model() {
    MODEL="$("$VENV/bin/python" "$ROOT/scripts/fetch_model.py" --folder "$MODEL_FOLDER")" ||
        die "the model of the demo is not there"
    say "model: ${MODEL#"$ROOT"/} (SHA-256 checked)"
}

# The demo's artifact is for CPUs alone, which takes half a minute; that of the tests is also for
# Mesa's software device, whose subgroups have 8 lanes.
ensure_demo_artifact() {
    ensure_artifact "$DEMO_ARTIFACT" cpu
}

ensure_test_artifact() {
    ensure_artifact "$TEST_ARTIFACT" cpu,vulkan-subgroup8
}

# Compiles the model, unless that was done of this very model, source code and TVM.
# $1: the artifact's folder. $2: its targets.
ensure_artifact() {
    local folder="$1" targets="$2" stamp inputs
    stamp="$ROOT/.cache/$(basename "$folder").made-of"
    inputs="$targets $(compile_inputs)"
    if [[ -f "$folder/manifest.json" && -f "$stamp" && "$(< "$stamp")" == "$inputs" ]]; then
        say "artifact: ${folder#"$ROOT"/} is up to date"
        return
    fi
    say "compiling to ${folder#"$ROOT"/} for $targets (about a minute)"
    rm -f "$stamp"
    "$VENV/bin/ferry" compile "$MODEL" -o "$folder" --quant q4f16 --head q8f16 --target "$targets"
    printf '%s\n' "$inputs" > "$stamp"
}

# Prints one line that changes with anything that the artifact is made of.
compile_inputs() {
    {
        "$VENV/bin/ferry" --version
        cksum "$MODEL" "$ROOT/scripts/environment.sh"
        find -L "$ROOT/src/ferrylm" -name '*.py' -exec cksum {} + | LC_ALL=C sort
    } | cksum
}
