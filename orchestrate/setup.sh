#!/usr/bin/env bash
# Set everything up inside this folder: the environment in .venv, Meltano's plugins in .meltano.
# With `dev`, what the tests need too. Needs Python, git and a package index; uv is used if it is
# here, else fetched into .tools.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(cat .python-version)
export UV_COMPILE_BYTECODE=1
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

find_uv() {
    command -v uv && return
    if [ ! -x .tools/bin/uv ]; then
        say "Fetching uv into .tools" >&2
        # From elsewhere: a version manager may have no Python for this folder's .python-version.
        root=$PWD
        (cd / && python3 -m venv "$root/.tools") >&2 ||
            fail "python3 can't make a virtual environment. On Debian and Ubuntu: apt install python3-venv"
        requirement=$(grep -Eo '^uv==[^ ;]+' requirements.txt)
        .tools/bin/python -m pip install --quiet --disable-pip-version-check "$requirement" >&2 ||
            fail "uv can't be installed from the package index. Check the network and pip's configuration"
    fi
    echo "$PWD/.tools/bin/uv"
}

find_python() {
    "$uv" python find --no-python-downloads "$version" 2>/dev/null && return
    if command -v pyenv >/dev/null; then
        for python in "$(pyenv root)"/versions/"$version"*/bin/python; do
            [ -x "$python" ] && echo "$python" && return
        done
    fi
    say "Fetching Python $version" >&2
    "$uv" python install --quiet "$version" >&2 && "$uv" python find "$version" && return
    fail "Python $version is not here. Install it with 'uv python install $version' or 'pyenv install $version'"
}

uv=$(find_uv)
if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    say "Making .venv with $("$python" --version)"
    "$uv" venv --quiet --python "$python" .venv
fi

say "Installing Meltano"
install() { "$uv" pip install --quiet --python .venv/bin/python "$@"; }
install --require-hashes -r requirements.txt
# Meltano imports it: orchestrate/logging.yaml.
install --no-deps -e plugins/utilities/run-output
if [ "${1:-}" = dev ]; then
    say "Installing what the tests need"
    # The file is complete, but for what orchestrate/lock.py leaves out on purpose.
    install --no-deps --require-hashes -r requirements-dev.txt
    # Every package of the project; what they need is in the file.
    own=()
    for file in plugins/*/*/pyproject.toml; do own+=(-e "${file%/*}"); done
    install --no-deps "${own[@]}"
    say "Compiling Google's analyser of SQL"
    .venv/bin/python -m local_servers.googlesql
fi

# Nobody else on this machine reads passwords: .env holds them, and so does what Meltano keeps of its runs.
[ -f .env ] || (umask 077 && cp .env.example .env)
mkdir -p .meltano
chmod 600 .env
chmod 700 .meltano
# Until version 0.2, `.env` named the dataset: dbt_<user>.
sed -i.old 's/^DBT_DATASET=\(dbt_\)*/DEVELOPER=/' .env && rm .env.old
if ! grep -q '^DEVELOPER=' .env; then
    user=$({ id -un 2>/dev/null || id -u; } | tr '[:upper:]' '[:lower:]' | LC_ALL=C tr -c 'a-z0-9\n' '_')
    printf '\n# Your name. In dev, dbt builds into dbt_%s, and your loads go to %s_product and so on.\nDEVELOPER=%s\n' \
        "$user" "$user" "$user" >>.env
fi

say "Installing Meltano's plugins"
set --
if [ ! -d .meltano/utilities/dagster ]; then
    # Dagster is large: its first command installs it.
    names='import sys, yaml; print(*(plugin["name"] for path in sys.argv[1:] for plugins in (yaml.safe_load(open(path)).get("plugins") or {}).values() for plugin in plugins if plugin["name"] != "dagster"))'
    # shellcheck disable=SC2046 # each word is a plugin
    set -- $(.venv/bin/python -c "$names" ./*/*.meltano.yml extract/tap-*/*.meltano.yml)
fi
.venv/bin/meltano --log-level=warning install "$@"
# `meltano install` knows no environment. What is installed beside taps in `local`, the local jobs install.
if [ "${MELTANO_ENVIRONMENT:-local}" = local ]; then
    jobs='import sys, yaml; print(*(job["name"] for path in sys.argv[1:] for job in yaml.safe_load(open(path)).get("jobs") or []))'
    # shellcheck disable=SC2046 # each word is a job
    set -- $(.venv/bin/python -c "$jobs" extract/*.meltano.yml)
    [ $# = 0 ] || .venv/bin/meltano --log-level=warning --environment=local run --only-install "$@"
fi
