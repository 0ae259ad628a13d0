"""Answers as services send them: what a guard has to read, with all that makes it look twice.

Made without chance, so that each run has the same.
"""

import json

#: A few words each of several languages.
REMARKS = (
    "Rechnung an Müller & Söhne, zahlbar in 30 Tagen",
    'The customer said "call me back"\nand asked for Łukasz 😀',
    "Livraison à l'étage, code d'accès dans le courriel",
    "50% paid; see C:\\invoices\\2026 and https://files.example/a/b?c=d&e=f",
    "お支払いありがとうございます",
)


def listing(length: int) -> bytes:
    """A page of an API's list in JSON: names, numbers, addresses, times, texts in several languages. As many programs
    escape what is not ASCII as do not."""
    rows: list[str] = []
    left = length - len('{"items":[],"next":null}')
    for number in range(length):
        row = json.dumps(_row(number), ensure_ascii=number % 2 == 0, separators=(",", ":"))
        left -= len(row.encode()) + 1
        if left < 0:
            break
        rows.append(row)
    return _filled(f'{{"items":[{",".join(rows)}],"next":null}}', length)


def nested(length: int) -> bytes:
    """A document that is a text in another: each quotation mark has a backslash before it."""
    inner = listing(length // 2).decode().rstrip()
    return _filled(json.dumps({"document": inner}, ensure_ascii=False), length)


def _row(number: int) -> dict:
    address = f"https://api.example/v2/accounts/{4711 + number % 7}/invoices/{number:06}"
    return {
        "id": 8_400_000 + 37 * number,
        "object": "invoice",
        "reference": f"in_1Pz{number * 2_654_435_761 % 2**48:012x}Kd",
        "self": address,
        "links": {"pdf": f"{address}/document.pdf?size=a4&lang=de", "customer": "/v2/customers/c%2F" + str(number)},
        "created_at": f"2026-{1 + number % 12:02}-{1 + number % 28:02}T08:{number % 60:02}:11.{number % 1000:03}Z",
        "amount": {"value": round(number * 19.99, 2), "currency": "EUR", "tax": 0.19, "open": number % 3 == 0},
        "remark": REMARKS[number % len(REMARKS)],
        "tags": ["monthly", "b2b", f"region-{number % 16}"],
        "metadata": {"etag": f'W/"{number * 40_503 % 2**32:08x}"', "source": None, "score": -1.5e-3 * number},
    }


def page(length: int) -> bytes:
    """A page of a web application: markup, addresses with parameters, references to characters, a script, a style."""
    parts = ["""<!DOCTYPE html>
<html lang="de"><head><meta charset="utf-8"><title>Invoices &ndash; Miller &amp; Sons</title>
<link rel="stylesheet" href="/assets/app.css?v=20261122&amp;theme=light">
<style>.row:nth-child(2n) { background: #f6f8fa; width: 100%; } .row > a { color: rgb(9 105 218 / 80%) }</style>
<script>window.state = {"user":"m\\u00fcller","base":"https:\\/\\/app.example\\/","hint":"a \\"quoted\\" word\\n"};</script>
</head><body class="page page--list">
"""]
    end = "</body></html>\n"
    left = length - len(end) - len(parts[0].encode())
    for number in range(length):
        row = _line(number)
        left -= len(row.encode())
        if left < 0:
            break
        parts.append(row)
    return _filled("".join(parts) + end, length)


def _line(number: int) -> str:
    remark = REMARKS[number % len(REMARKS)]
    for sign, reference in (("&", "&amp;"), ('"', "&quot;"), ("'", "&#39;"), ("<", "&lt;")):
        remark = remark.replace(sign, reference)
    return f"""  <div class="row" data-id="{8_400_000 + 37 * number}" data-kind="invoice">
    <a class="row__link" href="/invoices/{number:06}?from=list&amp;page={number // 25}&amp;q=M%C3%BCller">No.&nbsp;{number}</a>
    <span class="row__amount">{number * 19.99:.2f}&nbsp;&euro;</span><time datetime="2026-11-22T08:11Z">22 Nov</time>
    <p>{remark}</p>
  </div>
"""


def _filled(text: str, length: int) -> bytes:
    """As long as it is to be: white space at the end changes nothing."""
    return text.encode().ljust(length)
