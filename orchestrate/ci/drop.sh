#!/usr/bin/env bash
# Drop the dataset of a pull request, and refuse any other dataset.
#   orchestrate/ci/drop.sh dbt_pr_7
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'drop: %s\n' "$*" >&2; exit 1; }
[ $# -eq 1 ] || fail "orchestrate/ci/drop.sh <dataset>"
[[ $1 =~ ^dbt_pr_[0-9]+$ ]] || fail "'$1' isn't the dataset of a pull request, dbt_pr_<number>: nothing is dropped"

export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-dev}
export DEVELOPER=${1#dbt_} DBT_BIGQUERY_DATASET=$1
.venv/bin/meltano --log-level=warning invoke dbt-bigquery run-operation drop_dataset_of_pull_request
