"""Writes telemetry/page/runbook.html from docs/telemetry.md: `python -m tests.runbook_page`."""

import re
from html import escape
from pathlib import Path

DOCS, PAGE = Path("docs/telemetry.md"), Path("telemetry/page/runbook.html")
HEAD = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>Trimtab runbook</title>
    <link rel="icon" href="icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="page.css">
  </head>
  <body>
    <main>
      <h1>Runbook</h1>
      <p><a href="./">The page</a></p>
"""


def page() -> str:
    """The runbook as a page of its own."""
    body = DOCS.read_text().partition("\n## Runbook\n")[2].partition("\n## ")[0]
    parts = []
    for title, text in re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", body, re.MULTILINE | re.DOTALL):
        paragraphs = "\n".join(f"        <p>{_marked(each)}</p>" for each in text.strip().split("\n\n"))
        parts.append(
            f'      <section class="panel" id="{title}">\n        <h2>{title}</h2>\n{paragraphs}\n      </section>'
        )
    return HEAD + "\n".join(parts) + "\n    </main>\n  </body>\n</html>\n"


def _marked(text: str) -> str:
    plain = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", " ".join(text.split()))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(plain, quote=False))


if __name__ == "__main__":
    PAGE.write_text(page())
