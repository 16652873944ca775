"""The command `tap-postgres-arrow`."""

import gc

# While modules are loaded there is nothing to collect, and looking for it takes a tenth of the
# start-up: which is most of a run that finds little to do.
gc.disable()

from tap_postgres_arrow.tap import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
