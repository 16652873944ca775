#!/usr/bin/env bash
# Build and test what a branch changes, and what depends on it, in a dataset of its own. All else is
# read where production has it.
#   orchestrate/ci/changed.sh dbt_pr_7 gs://<bucket>/manifest.json
# The second is production's manifest: what orchestrate/ci/deploy.sh has left, there or on this disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'changed: %s\n' "$*" >&2; exit 1; }
[ $# -eq 2 ] || fail "orchestrate/ci/changed.sh <dataset> <manifest.json>"
dataset=$1 manifest=$2

# In dev, the dataset's name follows DBT_DATASET; in any environment, the other is the same setting's.
export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-dev}
export DBT_DATASET=$dataset DBT_BIGQUERY_DATASET=$dataset
export DBT_TARGET_PATH=${DBT_TARGET_PATH:-$PWD/transform/target}

state=$DBT_TARGET_PATH/production
mkdir -p "$state"
case $manifest in
    gs://*) gcloud storage cp "$manifest" "$state/manifest.json" ;;
    *) cp "$manifest" "$state/manifest.json" ;;
esac || fail "There is no manifest of production at $manifest: run the workflow Deploy once, on main"

# favor-state: what an earlier commit of the branch built there, and this one doesn't change, is out of date.
results=$DBT_TARGET_PATH/run_results.json
rm -f "$results"
built=0
.venv/bin/meltano --log-level=warning invoke dbt-bigquery build \
    --select state:modified+ --state "$state" --defer --favor-state || built=$?
if [ "$built" -eq 0 ] || [ -f "$results" ]; then
    .venv/bin/python orchestrate/ci/summary.py "$results" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
fi
exit "$built"
