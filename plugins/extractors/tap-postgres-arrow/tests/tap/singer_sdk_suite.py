"""The Singer SDK's standard tests of a tap. test_singer_sdk.py runs them."""

import json
import os
from typing import Any

from singer_sdk.testing import SuiteConfig, get_tap_test_class
from tap_postgres_arrow.tap import TapPostgresArrow


class MappingTap(TapPostgresArrow):
    """The tap with the SDK's mapper, which the suite asks for the schemas. Ours maps nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.setup_mapper()


TestTap = get_tap_test_class(
    MappingTap,
    # The suite looks at RECORD messages.
    config=json.loads(os.environ["TAP_CONFIG"]) | {"emit": "records"},
    # A run that is cut short after some rows sends no STATE, and the suite looks at the last one.
    suite_config=SuiteConfig(max_records_limit=None),
)
