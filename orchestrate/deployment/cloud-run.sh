#!/usr/bin/env bash
# Make a Cloud Run job of each job that has a schedule, and let Cloud Scheduler start it. Run it again after you add
# a source or push another image; it never removes a job.
#   BIGQUERY_PROJECT=… REGION=europe-west1 IMAGE=europe-west1-docker.pkg.dev/…/data-stack:1 \
#       VARIABLES=production.yaml SECRETS='CLOSE_API_KEY STRIPE_SECRET_KEY' \
#       orchestrate/deployment/cloud-run.sh [--dry-run]
# VARIABLES is a YAML file of lines `NAME: value`. SECRETS are names of variables whose values Secret Manager has under
# the same names; the account may read them (roles/secretmanager.secretAccessor). Needs gcloud.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'cloud-run: %s\n' "$*" >&2; exit 1; }

dry_run=false
case "${1:-}" in
    --dry-run) dry_run=true ;;
    '') ;;
    *) fail "Unknown: $1. There is --dry-run, which prints the commands and runs none" ;;
esac
for name in BIGQUERY_PROJECT REGION IMAGE VARIABLES; do
    [ -n "${!name:-}" ] || fail "$name isn't set: see the top of this file"
done
[ -f "$VARIABLES" ] || fail "VARIABLES: there is no file $VARIABLES"

account=data-stack-production@$BIGQUERY_PROJECT.iam.gserviceaccount.com
secrets=
for name in ${SECRETS:-}; do
    secrets+=${secrets:+,}$name=$name:latest
done

run() {
    printf '%q ' "$@"
    printf '\n'
    $dry_run || "$@" >/dev/null
}
exists() { ! $dry_run && "$@" >/dev/null 2>&1; }

schedules=$(.venv/bin/meltano --log-level=warning schedule list --format=json | .venv/bin/python -c '
import json, sys
for schedule in json.load(sys.stdin)["schedules"]["job"]:
    if schedule["cron_interval"]:
        print(schedule["name"], schedule["job"]["name"], schedule["cron_interval"], sep="\t")')
while IFS=$'\t' read -r schedule job cron; do
    # One task at a time, tried again once: a job that is run again leaves the same tables.
    run gcloud run jobs deploy "$job" --project="$BIGQUERY_PROJECT" --region="$REGION" --image="$IMAGE" \
        --command=meltano --args="run,$job" --service-account="$account" --env-vars-file="$VARIABLES" \
        ${secrets:+--set-secrets="$secrets"} --tasks=1 --max-retries=1 --task-timeout=6h --cpu=2 --memory=4Gi
    run gcloud run jobs add-iam-policy-binding "$job" --project="$BIGQUERY_PROJECT" --region="$REGION" \
        --member="serviceAccount:$account" --role=roles/run.invoker
    verb=create
    ! exists gcloud scheduler jobs describe "$schedule" --project="$BIGQUERY_PROJECT" --location="$REGION" || verb=update
    run gcloud scheduler jobs "$verb" http "$schedule" --project="$BIGQUERY_PROJECT" --location="$REGION" \
        --schedule="$cron" --time-zone=Etc/UTC --http-method=POST --oauth-service-account-email="$account" \
        --uri="https://run.googleapis.com/v2/projects/$BIGQUERY_PROJECT/locations/$REGION/jobs/$job:run"
done <<<"$schedules"
