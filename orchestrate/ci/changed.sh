#!/usr/bin/env bash
# Build and test the models that a branch changes and their descendants, in a separate dataset. All
# other models are read from production.
#   orchestrate/ci/changed.sh dbt_pr_7 gs://<bucket>/manifest.json
# The second argument is production's manifest, as orchestrate/ci/deploy.sh stored it: in a bucket or
# on this disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'changed: %s\n' "$*" >&2; exit 1; }
[ $# -eq 2 ] || fail "orchestrate/ci/changed.sh <dataset> <manifest.json>"
dataset=$1 manifest=$2

# DEVELOPER sets the dataset in dev, DBT_BIGQUERY_DATASET in local and prod.
export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-dev}
export DEVELOPER=${dataset#dbt_} DBT_BIGQUERY_DATASET=$dataset
export DBT_TARGET_PATH=${DBT_TARGET_PATH:-$PWD/transform/target}

state=$DBT_TARGET_PATH/production
mkdir -p "$state"
case $manifest in
    gs://*) gcloud storage cp "$manifest" "$state/manifest.json" ;;
    *) cp "$manifest" "$state/manifest.json" ;;
esac || fail "There is no manifest of production at $manifest: run the workflow Deploy once, on main"

# favor-state: a model that an earlier commit built in this dataset, and that is unchanged now, is out of
# date there.
results=$DBT_TARGET_PATH/run_results.json
rm -f "$results"
built=0
.venv/bin/meltano --log-level=warning invoke dbt-bigquery build \
    --select state:modified+ --state "$state" --defer --favor-state || built=$?
if [ "$built" -eq 0 ] || [ -f "$results" ]; then
    .venv/bin/python orchestrate/ci/summary.py "$results" "$state/manifest.json" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
fi
exit "$built"
