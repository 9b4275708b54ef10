#!/bin/sh
# Checks this bundle and installs it under $HOME; `./install.sh --help` lists the options.
set -u
root=$(cd "$(dirname "$0")" && pwd -P) || exit 1
. "$root/scripts/find_python.sh"
find_python "$root" || exit 1
exec "$python" -I -S "$root/scripts/install.py" "$@"
