#!/usr/bin/env bash
# Build all of dbt in production, store the manifest for pull requests, and sync Metabase.
#   orchestrate/ci/deploy.sh gs://<bucket>/manifest.json
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'deploy: %s\n' "$*" >&2; exit 1; }
[ $# -eq 1 ] || fail "orchestrate/ci/deploy.sh <manifest.json>"

export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-prod}
export DBT_TARGET_PATH=${DBT_TARGET_PATH:-$PWD/transform/target}
.venv/bin/meltano run stack:guard dbt-bigquery:build
case $1 in
    gs://*) gcloud storage cp "$DBT_TARGET_PATH/manifest.json" "$1" ;;
    *) cp "$DBT_TARGET_PATH/manifest.json" "$1" ;;
esac
.venv/bin/meltano run dbt-metabase:sync
