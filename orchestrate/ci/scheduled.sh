#!/usr/bin/env bash
# Run jobs in production, one after the other: the named jobs, or all jobs that have a schedule. A job
# that fails doesn't stop the others; the command then ends with exit code 1.
#   orchestrate/ci/scheduled.sh [product-daily …]
set -euo pipefail
cd "$(dirname "$0")/../.."

export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-prod}
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names of jobs, one word each
    set -- $(.venv/bin/meltano --log-level=warning schedule list --format=json | .venv/bin/python -c '
import json, sys
schedules = json.load(sys.stdin)["schedules"]["job"]
print(*sorted(schedule["job"]["name"] for schedule in schedules))')
fi

failed=()
for job in "$@"; do
    [ -z "${GITHUB_ACTIONS:-}" ] || printf '::group::%s\n' "$job"
    .venv/bin/meltano run "$job" || failed+=("$job")
    [ -z "${GITHUB_ACTIONS:-}" ] || printf '::endgroup::\n'
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'Failed, see above: %s\n' "${failed[*]}" >&2
    exit 1
fi
