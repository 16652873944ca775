#!/usr/bin/env bash
# Run jobs in production, one after the other: the named jobs, or all jobs that have a schedule for today
# (in UTC; the hour doesn't count). A job that fails doesn't stop the others; the command then ends with
# exit code 1.
#   orchestrate/ci/scheduled.sh [product-daily …]
set -euo pipefail
cd "$(dirname "$0")/../.."

export MELTANO_ENVIRONMENT=${MELTANO_ENVIRONMENT:-prod}
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names of jobs, one word each
    set -- $(.venv/bin/meltano --log-level=warning schedule list --format=json | .venv/bin/python -c '
import datetime, json, sys
today = datetime.datetime.now(datetime.UTC).date()
def holds(field, *numbers):
    """Whether a field of cron holds a number: *, 0, 1-5, 1,15. Another form counts as today."""
    parts = [part.split("-") for part in field.split(",")]
    if field == "*" or not all(end.isdigit() for part in parts for end in part):
        return True
    return any(int(part[0]) <= number <= int(part[-1]) for part in parts for number in numbers)
for schedule in json.load(sys.stdin)["schedules"]["job"]:
    fields = (schedule["cron_interval"] or "").split()
    if len(fields) == 5 and holds(fields[2], today.day) and holds(fields[3], today.month) and holds(
        fields[4], today.isoweekday(), today.isoweekday() % 7
    ):
        print(schedule["job"]["name"])' | sort)
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
