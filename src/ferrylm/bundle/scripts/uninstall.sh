#!/bin/sh
# Removes what install.sh has put under $HOME.
set -u
root=$(cd "$(dirname "$0")" && pwd -P) || exit 1
. "$root/scripts/find_python.sh"
find_python "$root" || exit 1
exec "$python" -I -S "$root/scripts/uninstall.py" "$@"
