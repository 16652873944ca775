#!/usr/bin/env bash
# Run jobs in production: the named jobs, or all jobs that have a schedule for today. Several jobs load their sources, and
# one build and one sync of Metabase follow. A source or a job that fails doesn't stop the others; the command then ends
# with exit code 1.
#   orchestrate/ci/scheduled.sh [product-daily …]
set -euo pipefail
cd "$(dirname "$0")/../.."

export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-prod}
plan=$(.venv/bin/python orchestrate/ci/jobs.py "$@")

failed=()
have_all_loaded=no
run() {
    [ -z "${GITHUB_ACTIONS:-}" ] || printf '::group::%s\n' "$1"
    local code=0
    # shellcheck disable=SC2086 # each word is a task
    .venv/bin/meltano run $2 </dev/null || code=$?
    [ -z "${GITHUB_ACTIONS:-}" ] || printf '::endgroup::\n'
    return $code
}
while IFS=$'\t' read -r name tasks; do
    case $name in
        '') ;;
        # All in one run cost less. Meltano ends it where one fails. Then each has a run of its own: what is loaded
        # already brings nothing new.
        load) if run "$name" "$tasks"; then have_all_loaded=yes; fi ;;
        load:*) [ $have_all_loaded = yes ] || run "$name" "$tasks" || failed+=("${name#load: }") ;;
        build)
            [ $have_all_loaded = no ] || tasks=${tasks#stack:guard }    # it has just passed
            run "$name" "$tasks" || failed+=("$name")
            ;;
        *) run "$name" "$tasks" || failed+=("$name") ;;
    esac
done <<<"$plan"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'Failed, see above: %s\n' "${failed[*]}" >&2
    exit 1
fi
