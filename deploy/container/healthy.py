"""Whether the service that touches a health file is well: `healthy.py FILE`, exit 0 or 1.

Standard library only, and nothing of the application: a probe that runs twice a minute must cost nothing. Scheduler and
worker touch the file named in DESPENSA_HEALTH_FILE once a minute, after they did their part.
"""

import argparse
import os
import sys
import time

#: Two touches may be late. The same as models.sightings.SEEN_WITHIN_S: a test keeps them together.
AGE_LIMIT_S = 150


def trouble(path: str, *, limit_s: float) -> str:
    """What is wrong; empty if nothing is."""
    try:
        age_s = time.time() - os.stat(path).st_mtime
    except OSError as error:
        return f"{path}: {error.strerror}"
    # From the future: the clock was set back. A service that lives will have touched it within a minute.
    if abs(age_s) > limit_s:
        return f"{path} was touched {age_s:.0f} s ago, more than {limit_s:.0f} s"
    return ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Exit 0 if the service that touches FILE is well, 1 if not.")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--age-limit", type=float, default=AGE_LIMIT_S, metavar="SECONDS")
    words = parser.parse_args()
    found = trouble(words.file, limit_s=words.age_limit)
    sys.exit(f"unwell: {found}" if found else 0)
