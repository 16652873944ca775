"""The command `tap-airbyte-manifest`."""

import gc
import os
import signal
import warnings
from types import FrameType
from typing import NoReturn


def stop_at_once(number: int, _: FrameType | None) -> NoReturn:
    """Stop. Every STATE that was written covers only records that were written before it."""
    os.write(2, b"tap-airbyte-manifest: stopped. The next run goes on from the last state.\n")
    os._exit(128 + number)


signal.signal(signal.SIGINT, stop_at_once)
signal.signal(signal.SIGTERM, stop_at_once)
if os.environ.get("LOG_LEVEL", "").lower() != "debug":
    # They are for those who write the CDK. Meltano asks for all of them.
    warnings.simplefilter("ignore")
# While modules are loaded there is nothing to collect, and looking for it takes a tenth of the
# start-up.
gc.disable()

from tap_airbyte_manifest.tap import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
