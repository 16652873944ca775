#!/usr/bin/env bash
# Build all of dbt in production, store the manifest for pull requests, and sync Metabase. The manifest is
# stored again with what Metabase makes of the models, so that pull requests can say what they touch.
#   orchestrate/ci/deploy.sh gs://<bucket>/manifest.json
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'deploy: %s\n' "$*" >&2; exit 1; }
[ $# -eq 1 ] || fail "orchestrate/ci/deploy.sh <manifest.json>"

export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-prod}
export DBT_TARGET_PATH=${DBT_TARGET_PATH:-$PWD/transform/target}
store() {
    case $1 in
        gs://*) gcloud storage cp "$DBT_TARGET_PATH/manifest.json" "$1" ;;
        *) cp "$DBT_TARGET_PATH/manifest.json" "$1" ;;
    esac
}

rm -rf transform/exposures
.venv/bin/meltano run stack:guard dbt-bigquery:build
store "$1"
.venv/bin/meltano run dbt-metabase:sync dbt-metabase:exposures
if [ -d transform/exposures ]; then
    .venv/bin/meltano --log-level=warning invoke dbt-bigquery parse
    store "$1"
fi
