"""The frame of the report: one HTML file with its style inside, which asks the network for nothing.

Colours are variables, for light and dark; the curves use the same ones.
"""

from __future__ import annotations

from html import escape

# Nothing is loaded and no script runs, whatever the text of a model holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

_STYLE = """
:root { color-scheme: light dark;
  --paper: #ffffff; --soft: #f6f7f9; --ink: #1f2328; --muted: #5f6873; --faint: #98a1ab; --grid: #e3e6ea;
  --curve-1: #0072b2; --curve-2: #d55e00; --curve-3: #00805c; --share-bar: #e4eff7;
  --good: #1a7f4b; --bad: #b3261e; --warn: #8a5a00; --turn: #fff0c2;
  --phase-1: #0072b2; --phase-2: #56b4e9; --phase-3: #d55e00; --phase-4: #e69f00; --phase-5: #98a1ab; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --soft: #1c2026; --ink: #e6e9ed; --muted: #a2abb6; --faint: #727c88; --grid: #2d333b;
  --curve-1: #56b4e9; --curve-2: #f0904d; --curve-3: #4fc9a0; --share-bar: #20364a;
  --good: #5fce93; --bad: #ff8a80; --warn: #f0c05a; --turn: #574510;
  --phase-1: #3b8fc4; --phase-2: #8fd0f5; --phase-3: #e07b39; --phase-4: #f0b840; --phase-5: #727c88; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Noto Sans CJK SC",
    "PingFang SC", "Microsoft YaHei", sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 48px 28px 64px; }
h1 { font-size: 2.1rem; line-height: 1.15; margin: 0; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 64px 0 4px; letter-spacing: -0.01em; }
h3 { font-size: 1rem; margin: 40px 0 12px; }
p { margin: 6px 0; } a { color: var(--curve-1); }
.eyebrow, .note { color: var(--muted); font-size: 0.875rem; }
.title { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 14px; margin: 2px 0 6px; }
.state { font-size: 0.8125rem; font-weight: 600; padding: 2px 11px; border-radius: 99px; border: 1.5px solid; }
.state.finished { color: var(--good); } .state.failed { color: var(--bad); } .state { color: var(--warn); }
.alert { border-left: 4px solid var(--bad); background: var(--soft); padding: 10px 16px; margin: 16px 0;
  border-radius: 0 6px 6px 0; overflow-wrap: anywhere; } .alert.quiet { border-color: var(--warn); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 14px 28px;
  margin: 26px 0 0; padding: 18px 0; border: solid var(--grid); border-width: 1px 0; }
dt { color: var(--muted); font-size: 0.8125rem; } dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin: 28px 0 0; }
.tile { background: var(--soft); border-radius: 10px; padding: 16px 18px; }
.tile b { display: block; font-size: 1.75rem; line-height: 1.25; letter-spacing: -0.02em; white-space: nowrap; }
.tile b i { font-style: normal; font-weight: 400; color: var(--muted); font-size: 1.1rem; }
.tile span { color: var(--muted); font-size: 0.875rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: 0.875rem; padding: 0 0 8px; }
th, td { padding: 7px 20px 7px 0; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; font-weight: 400; } td:last-child, th:last-child
  { padding-right: 0; } thead th { color: var(--muted); font-weight: 600; font-size: 0.875rem; }
.after { font-weight: 600; } .up { color: var(--good); } .down { color: var(--bad); }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: 30px 26px; }
figure { margin: 0; min-width: 0; } figcaption b { display: block; line-height: 1.3; }
figcaption { color: var(--muted); font-size: 0.8125rem; margin-bottom: 4px; } figcaption b { color: var(--ink);
  font-size: 0.9375rem; } svg { display: block; width: 100%; height: auto; } svg text { font-family: inherit; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; margin-bottom: 18px; }
.sample { background: var(--soft); border-radius: 10px; padding: 16px 18px; min-width: 0; display: flex;
  flex-direction: column; } .sample h4 { margin: 0 0 2px; font-size: 0.8125rem; color: var(--muted); font-weight: 600; }
.question { font-weight: 600; overflow-wrap: anywhere; } .empty { color: var(--muted); }
.response { white-space: pre-wrap; overflow-wrap: anywhere; margin: 10px 0 14px; max-height: 26em; overflow-y: auto;
  flex: 1; font-size: 0.9375rem; } .think { color: var(--muted); } .answer { font-weight: 600; font-size: 1.0625rem; }
.tag { color: var(--faint); font: 0.75rem ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
mark { background: var(--turn); color: inherit; border-radius: 3px; padding: 0 1px; color: var(--ink); }
.verdict { font-size: 0.875rem; border-top: 1px solid var(--grid); padding-top: 9px; overflow-wrap: anywhere; }
.verdict b.right { color: var(--good); } .verdict b.wrong { color: var(--bad); }
.chip { display: inline-block; border-radius: 99px; padding: 0 9px; background: var(--turn); margin-left: 6px;
  white-space: nowrap; } .verdict small { color: var(--muted); display: block; font-size: inherit; }
.bar { display: flex; height: 22px; border-radius: 6px; overflow: hidden; gap: 2px; background: var(--paper); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 24px; margin: 10px 0 0; padding: 0; list-style: none;
  font-size: 0.875rem; } .legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px;
  margin-right: 7px; } .legend span { color: var(--muted); }
.groups { columns: 3 250px; column-gap: 36px; } .groups div { break-inside: avoid; padding-bottom: 22px; }
.groups h4 { margin: 0 0 2px; font-size: 0.875rem; } .groups td { padding: 4px 0; font-size: 0.875rem; }
.groups td:first-child { color: var(--muted); padding-right: 12px; }
details { margin-top: 64px; border: 1px solid var(--grid); border-radius: 10px; padding: 0 18px; }
summary { cursor: pointer; padding: 13px 0; font-weight: 600; } :focus-visible { outline: 2px solid var(--curve-1); }
pre { overflow-x: auto; margin: 0; padding: 4px 0 18px; font-size: 0.8125rem; line-height: 1.5;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
footer { margin-top: 40px; color: var(--muted); font-size: 0.875rem; }
.kind { font-size: 0.75rem; font-weight: 400; letter-spacing: 0; vertical-align: 2px; margin-left: 3px; white-space:
  nowrap; color: var(--muted); border: 1px solid var(--grid); border-radius: 99px; padding: 1px 9px; }
.lines i { position: absolute; border: 0 solid; } .lines { position: relative; }
i.model { border-color: var(--curve-1); border-style: solid; } i.data { border-color: var(--curve-2); border-style:
  dashed; } i.reward { border-color: var(--curve-3); border-style: dotted; } .lines .l { border-left-width: 2px; }
.lines .t { border-top-width: 2px; } .lines .b { border-bottom-width: 2px; } .lines .l.b { border-bottom-left-radius:
  9px; } .lines .l.t { border-top-left-radius: 9px; } .lines i.dot { width: 12px; height: 12px; border-radius: 50%;
  border: 2.5px solid var(--curve-1); background: var(--curve-1); } .lines i.dot.data { border-color: var(--curve-2);
  background: var(--curve-2); } .lines i.dot.reward { border-color: var(--curve-3); background: var(--curve-3); }
.lines i.dot.table { border-color: var(--muted); background: var(--muted); border-radius: 3px; }
.waiting i.dot, .waiting i.dot.data, .waiting i.dot.reward, .waiting i.dot.table { background: var(--paper); }
.legend.lines i { position: static; width: 24px; height: 0; border-width: 2px 0 0; border-radius: 0; vertical-align:
  middle; background: none; } .flow { list-style: none; margin: 14px 0 0; padding: 0; } .flow .row { display: grid;
  grid-template-columns: auto minmax(0, 17rem) minmax(0, 1fr) 4.5rem; min-height: 46px; column-gap: 14px; }
.flow .row > div:not(.lines) { padding: 8px 0; border-bottom: 1px solid var(--grid); margin-right: -14px;
  padding-right: 14px; overflow-wrap: anywhere; } .what span:not(.kind):not(.state) { display: block; color:
  var(--muted); font-size: 0.875rem; } .flow .state { padding: 0 8px; font-size: 0.75rem; } .came { font-size:
  0.9375rem; } .flow .row > div.took { text-align: right; color: var(--muted); margin-right: 0; padding-right: 0;
  font-variant-numeric: tabular-nums; font-size: 0.875rem; } .waiting, .waiting .came { color: var(--muted); }
.standing th:first-child { position: sticky; left: 0; background: var(--paper); z-index: 1; white-space: nowrap; }
.standing { font-size: 0.9375rem; } .standing thead th { white-space: normal; vertical-align: bottom; padding: 7px 8px;
  font-size: 0.8125rem; line-height: 1.3; } .standing td.share { background:
  linear-gradient(to right, var(--share-bar) var(--share), transparent 0) no-repeat 4px 50% / calc(100% - 4px) 24px; }
.standing td { padding: 7px 8px 7px 10px; } .standing td b { font-weight: 400; }
.standing td.best b { color: var(--good); font-weight: 700; }
.standing td.near b { text-decoration: underline; text-underline-offset: 3px; } .standing small { color: var(--muted);
  font-size: 0.8em; } .reasons .bars { width: 60%; padding-right: 20px; }
.reasons .bars i { display: block; height: 14px; min-width: 1px; border-radius: 3px; background: var(--faint); }
.reasons .bars i.kept { background: var(--curve-1); } .beside { display: grid; grid-template-columns: 3fr 2fr; gap:
  20px 40px; align-items: start; } .pair.three { grid-template-columns: repeat(3, 1fr); }
.wrap thead th { white-space: normal; vertical-align: bottom; } .wrap th:first-child { min-width: 6.5rem; }
details.more { margin-top: 14px; } .more > h3:first-of-type { margin-top: 6px; }
details.more > :last-child { margin-bottom: 18px; }
@media (max-width: 720px) { .beside, .pair.three { grid-template-columns: 1fr; } .flow .row { grid-template-columns:
  auto minmax(0, 1fr) 3.6rem; column-gap: 8px; } .flow .row > div.what { border: 0; padding-bottom: 0; margin: 0; }
  .flow .row > div.came { grid-column: 2 / 4; grid-row: 2; padding-top: 0; margin: 0; } .flow .row > .lines { grid-row:
  1 / 3; } .flow .row > div.took { border: 0; } .reasons .bars { width: 38%; }
   main { padding: 28px 16px 40px; } h1 { font-size: 1.7rem; } h2 { margin-top: 48px; }
  .pair { grid-template-columns: 1fr; gap: 10px; margin-bottom: 26px; } th, td { padding-right: 12px;
  font-size: 0.875rem; } .facts, .tiles { grid-template-columns: repeat(2, minmax(0, 1fr));
  gap: 12px; } .tile { padding: 12px 14px; }
  .tile b { font-size: 1.25rem; } .tile b i { font-size: 0.9375rem; } }
@media print { .response { max-height: none; } .sample, figure, tr { break-inside: avoid; } }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document around `body`, which is HTML already; `title` is text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )
