"""Run an audit with a helper, and wait in it for ever: python waiting.py PLAN.json RUN."""

import json
import sys
import time
from pathlib import Path

from leakward.auditing import audit, crew

if __name__ == "__main__":
    crew.PATIENCE = 0.0
    audit(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], progress=lambda what, fraction: time.sleep(1000))
