"""Writes `trustpolicy.schema.json` beside itself, from the models that read policies."""

from __future__ import annotations

import json
from pathlib import Path

from webhook.policy.syntax import schema

if __name__ == "__main__":
    Path(__file__).with_name("trustpolicy.schema.json").write_text(json.dumps(schema.json_schema(), indent=2) + "\n")
