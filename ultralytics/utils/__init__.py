"""Small tools that know nothing of networks, datasets or loops."""

import logging
import sys

LOGGER = logging.getLogger("ultralytics")


class _ConsoleHandler(logging.StreamHandler):
    """Shows messages on today's stdout, unless the application set up logging of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record; a configured root logger already does."""
        if logging.getLogger().handlers:
            return
        self.stream = sys.stdout
        super().emit(record)


if not LOGGER.handlers:
    LOGGER.addHandler(_ConsoleHandler(sys.stdout))
    LOGGER.setLevel(logging.INFO)
