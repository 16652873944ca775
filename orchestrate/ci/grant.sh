#!/usr/bin/env bash
# Grant the roles of the table in orchestrate/ci/README.md, and no others. Run it again after you add a
# source or a developer; it never removes a grant.
#   BIGQUERY_PROJECT=… BIGQUERY_LOCATION=EU GITHUB_REPOSITORY_ID=… DEVELOPERS='group:data@example.com' \
#       orchestrate/ci/grant.sh [--dry-run]
# Needs gcloud and bq, and an account that may change the project's IAM policy, such as Owner.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'grant: %s\n' "$*" >&2; exit 1; }

dry_run=false
case "${1:-}" in
    --dry-run) dry_run=true ;;
    '') ;;
    *) fail "Unknown: $1. There is --dry-run, which prints the commands and runs none" ;;
esac

[ -n "${BIGQUERY_PROJECT:-}" ] || fail "BIGQUERY_PROJECT isn't set: the Google Cloud project's ID"
[ -n "${BIGQUERY_LOCATION:-}" ] || fail "BIGQUERY_LOCATION isn't set: where the datasets are, e.g. EU"
[[ ${GITHUB_REPOSITORY_ID:-} =~ ^[0-9]+$ ]] || fail \
    "GITHUB_REPOSITORY_ID isn't set to a number: gh api 'repos/{owner}/{repo}' --jq .id"
developers=${DEVELOPERS:-}
for developer in $developers; do
    [[ $developer =~ ^(user|group):[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$ ]] || fail \
        "DEVELOPERS: '$developer' is neither user:<address> nor group:<address>"
done

project=$BIGQUERY_PROJECT
state_bucket=${STATE_BUCKET:-$project-meltano-state}
manifest_bucket=${MANIFEST_BUCKET:-$project-dbt-manifest}
pool=data-stack
provider=github

account() { printf '%s@%s.iam.gserviceaccount.com' "$1" "$project"; }
production=$(account data-stack-production)
pull_requests=$(account data-stack-pull-requests)
metabase=$(account data-stack-metabase)
authorize_views=projects/$project/roles/dataStackAuthorizeViews

# A source, its file and its raw dataset have the same name. Jobs record what they did in `ops`.
raw=(ops)
for file in extract/*.meltano.yml; do
    source=${file##*/}
    raw+=("${source%.meltano.yml}")
done

# Print a command; run it unless this is a dry run.
run() {
    printf '%q ' "$@"
    printf '\n'
    $dry_run || "$@" >/dev/null
}

# Whether a command succeeds, which means that an object exists. A dry run asks nothing, and assumes that
# nothing exists.
exists() { ! $dry_run && "$@" >/dev/null 2>&1; }

on_project() { # who, role
    run gcloud projects add-iam-policy-binding "$project" --member="$1" --role="$2" --condition=None
}

grants=''
on_dataset() { # who, role, dataset: one query at the end grants all
    grants+="grant \`$2\` on schema \`$project.$3\` to \"$1\";"$'\n'
}

on_bucket() { # who, role, bucket
    run gcloud storage buckets add-iam-policy-binding "gs://$3" --member="$1" --role="$2"
}

make_account() { # name, purpose
    exists gcloud iam service-accounts describe "$(account "$1")" --project="$project" ||
        run gcloud iam service-accounts create "$1" --display-name="$2" --project="$project"
}

make_role() { # name, purpose, permissions
    exists gcloud iam roles describe "${1##*/}" --project="$project" ||
        run gcloud iam roles create "${1##*/}" --title="$2" --permissions="$3" --stage=GA --project="$project"
}

make_dataset() {
    exists bq show --project_id="$project" --dataset "$project:$1" ||
        run bq mk --project_id="$project" --location="$BIGQUERY_LOCATION" --dataset "$project:$1"
}

make_bucket() {
    exists gcloud storage buckets describe "gs://$1" ||
        run gcloud storage buckets create "gs://$1" --project="$project" --location="$BIGQUERY_LOCATION" \
            --uniform-bucket-level-access --public-access-prevention
}

grant_on_datasets() {
    local query=(bq query --quiet --project_id="$project" --location="$BIGQUERY_LOCATION" --use_legacy_sql=false)
    printf '%s <<SQL\n%sSQL\n' "${query[*]}" "$grants"
    $dry_run || "${query[@]}" <<<"$grants" >/dev/null
}

# Let the views of `dbt` read a raw dataset for everyone who may read the views: an "authorized dataset".
let_views_read() {
    local access=access.json entry
    printf -v entry '{"dataset": {"dataset": {"projectId": "%s", "datasetId": "dbt"}, "targetTypes": ["VIEWS"]}}' "$project"
    if $dry_run; then
        printf '# %s: who has access already, and %s\n' "$1" "$entry"
    else
        access=$(mktemp)
        bq show --project_id="$project" --format=json --dataset "$project:$1" | python3 -c '
import json, sys
dataset, entry = json.load(sys.stdin), json.loads(sys.argv[1])
access = dataset["access"]
print(json.dumps({"access": access if entry in access else [*access, entry]}))' "$entry" >"$access"
    fi
    run bq update --project_id="$project" --source "$access" "$project:$1"
    $dry_run || rm "$access"
}

printf '# APIs\n'
run gcloud services enable bigquery.googleapis.com iamcredentials.googleapis.com sts.googleapis.com \
    storage.googleapis.com --project="$project"

printf '\n# Accounts, datasets, buckets\n'
make_account data-stack-production 'Data stack: production'
make_account data-stack-pull-requests 'Data stack: pull requests'
make_account data-stack-metabase 'Data stack: Metabase'
for dataset in "${raw[@]}" dbt; do make_dataset "$dataset"; done
make_bucket "$state_bucket"
make_bucket "$manifest_bucket"

printf '\n# Production: runs jobs, makes the dataset of a new source; writes to the raw datasets and to dbt\n'
on_project "serviceAccount:$production" roles/bigquery.user
# To create a view in an authorized dataset, an account needs the right to update the dataset that the
# view reads (https://docs.cloud.google.com/bigquery/docs/authorized-datasets). Only two predefined
# roles have it, Data Owner and Admin, and both may also delete the dataset.
make_role "$authorize_views" 'Data stack: views of dbt read raw datasets' bigquery.datasets.get,bigquery.datasets.update
for dataset in "${raw[@]}"; do
    on_dataset "serviceAccount:$production" roles/bigquery.dataEditor "$dataset"
    on_dataset "serviceAccount:$production" "$authorize_views" "$dataset"
done
on_dataset "serviceAccount:$production" roles/bigquery.dataEditor dbt
on_bucket "serviceAccount:$production" roles/storage.objectUser "$state_bucket"
on_bucket "serviceAccount:$production" roles/storage.objectUser "$manifest_bucket"

printf '\n# Pull requests and developers: run jobs, make datasets of their own; read those of production\n'
for member in "serviceAccount:$pull_requests" $developers; do
    on_project "$member" roles/bigquery.user
    for dataset in "${raw[@]}" dbt; do on_dataset "$member" roles/bigquery.dataViewer "$dataset"; done
    on_bucket "$member" roles/storage.objectViewer "$manifest_bucket"
done

printf '\n# Metabase: runs queries; reads the dataset dbt alone, and through its views the raw data\n'
on_project "serviceAccount:$metabase" roles/bigquery.jobUser
on_dataset "serviceAccount:$metabase" roles/bigquery.dataViewer dbt

printf '\n# What the above may do with each dataset\n'
grant_on_datasets
for dataset in "${raw[@]}"; do let_views_read "$dataset"; done

printf '\n# Workflows of this one repository sign in, by what they are: no key\n'
if $dry_run; then number=PROJECT_NUMBER; else
    number=$(gcloud projects describe "$project" --format='value(projectNumber)')
fi
exists gcloud iam workload-identity-pools describe "$pool" --project="$project" --location=global ||
    run gcloud iam workload-identity-pools create "$pool" --project="$project" --location=global
# The subject is not used, because its form differs from repository to repository. A workflow is
# production's if it runs in the environment `production` on main. Others, unless they are pull requests,
# get no account.
part="assertion.event_name == 'pull_request' ? 'pull-request' : \
has(assertion.environment) && assertion.environment == 'production' && assertion.ref == 'refs/heads/main' ? 'production' : 'none'"
change=create-oidc
! exists gcloud iam workload-identity-pools providers describe "$provider" --project="$project" \
    --location=global --workload-identity-pool="$pool" || change=update-oidc
run gcloud iam workload-identity-pools providers "$change" "$provider" --project="$project" \
    --location=global --workload-identity-pool="$pool" \
    --issuer-uri=https://token.actions.githubusercontent.com \
    --attribute-mapping="google.subject='github:' + assertion.repository_id + ':' + assertion.run_id,attribute.part=$part" \
    --attribute-condition="assertion.repository_id == '$GITHUB_REPOSITORY_ID'"

principals=principalSet://iam.googleapis.com/projects/$number/locations/global/workloadIdentityPools/$pool
run gcloud iam service-accounts add-iam-policy-binding "$production" --project="$project" \
    --member="$principals/attribute.part/production" --role=roles/iam.workloadIdentityUser
run gcloud iam service-accounts add-iam-policy-binding "$pull_requests" --project="$project" \
    --member="$principals/attribute.part/pull-request" --role=roles/iam.workloadIdentityUser

cat <<END

# The repository's variables (Settings, Secrets and variables, Actions), or: gh variable set …
BIGQUERY_PROJECT=$project
BIGQUERY_LOCATION=$BIGQUERY_LOCATION
STATE_BUCKET=$state_bucket
MANIFEST_BUCKET=$manifest_bucket
PRODUCTION_SERVICE_ACCOUNT=$production
PULL_REQUEST_SERVICE_ACCOUNT=$pull_requests
WORKLOAD_IDENTITY_PROVIDER=projects/$number/locations/global/workloadIdentityPools/$pool/providers/$provider
END
