"""How the report looks, on light and on dark. Nothing is told by colour alone."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --card: #fff; --ink: #16181d; --soft: #51555e; --faint: #7d828c; --grid: #e6e6e1; --axis: #b9bab4;
  --stage-1: #2a78d6; --stage-2: #1baf7a; --stage-3: #e09a00; --stage-4: #7a4fc9; --stage-5: #e0563b;
  --response: #3c5a86; --p50: #86b6ef; --p95: #2a78d6; --p99: #123f7c;
  --good: #1a9a4b; --calm: #9aa1ad; --warning: #e09a00; --bad: #d03b3b; --notice: #fff6df; --notice-ink: #5c4300;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111214; --card: #1a1b1e; --ink: #f2f3f5; --soft: #bfc3cb; --faint: #8b909a; --grid: #2b2d31;
    --axis: #4a4d54;
    --stage-1: #4a94ea; --stage-2: #22b682; --stage-3: #d99a17; --stage-4: #9b7be0; --stage-5: #e8694f;
    --response: #8ea9d1; --p50: #2f5f9e; --p95: #5a9bea; --p99: #bcd7f8;
    --good: #2fb363; --calm: #7d8491; --warning: #d99a17; --bad: #e5605f; --notice: #3a2f14; --notice-ink: #f6dfa5;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1104px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 2px; }
h3 { font-size: 15px; margin: 0 0 8px; font-weight: 600; }
p { margin: 0 0 12px; color: var(--soft); max-width: 78ch; }
section { background: var(--card); border: 1px solid var(--grid); border-radius: 12px; padding: 20px 24px;
  margin-top: 20px; }
.notice { background: var(--notice); color: var(--notice-ink); border-radius: 8px; padding: 10px 16px;
  margin: 16px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 20px 0 0;
  padding: 0; }
.tiles > div { background: var(--card); border: 1px solid var(--grid); border-radius: 12px; padding: 14px 18px; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 2px 0 0; font-size: 26px; font-weight: 600; letter-spacing: -0.01em; }
.tiles .note { font-size: 13px; font-weight: 400; color: var(--faint); letter-spacing: 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 24px; }
figure { margin: 0; }
figcaption { font-size: 13px; color: var(--faint); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 12px; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.strong th, tr.strong td { color: var(--ink); font-weight: 600; }
tbody th { font-size: 15px; font-weight: 400; color: var(--ink); }
th .note { margin-left: 10px; font-size: 13px; color: var(--faint); }
td.words { text-align: left; white-space: normal; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px;
  background: var(--response); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 0; padding: 0; list-style: none;
  font-size: 14px; }
svg { display: block; width: 100%; height: auto; overflow: visible; font: 13px system-ui, sans-serif; }
svg text { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--faint); font-size: 12px; }
svg .label, svg .value { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 4px;
  stroke-linejoin: round; }
svg .strong { font-weight: 600; }
.grid { stroke: var(--grid); } .axis-line { stroke: var(--axis); }
.mark { stroke: var(--ink); stroke-dasharray: 3 3; }
.mark.p50 { stroke-dasharray: none; }
.stage-1 { fill: var(--stage-1); background: var(--stage-1); }
.stage-2 { fill: var(--stage-2); background: var(--stage-2); }
.stage-3 { fill: var(--stage-3); background: var(--stage-3); }
.stage-4 { fill: var(--stage-4); background: var(--stage-4); }
.stage-5 { fill: var(--stage-5); background: var(--stage-5); }
.response { fill: var(--response); background: var(--response); }
.early { fill: var(--card); stroke-width: 2; stroke: var(--ink); }
.dot { fill: var(--faint); fill-opacity: 0.6; } .failure { stroke: var(--bad); stroke-width: 2; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.curve.p50 { stroke: var(--p50); } .curve.p95 { stroke: var(--p95); } .curve.p99 { stroke: var(--p99); }
.point { stroke: var(--card); stroke-width: 1.5; }
.point.p50 { fill: var(--p50); } .point.p95 { fill: var(--p95); } .point.p99 { fill: var(--p99); }
.area { fill: var(--response); fill-opacity: 0.25; stroke: var(--response); stroke-width: 1.5; }
.area.lag { fill: var(--calm); stroke: var(--calm); }
.outcome { fill: var(--bad); background: var(--bad); }
.outcome.completed { fill: var(--good); background: var(--good); }
.outcome.cancelled { fill: var(--calm); background: var(--calm); }
.outcome.incomplete { fill: var(--warning); background: var(--warning); }
.outcome.unanswered { fill: var(--stage-4); background: var(--stage-4); }
footer { margin-top: 24px; font-size: 13px; color: var(--faint); }
@media print { section, .tiles > div { break-inside: avoid; } }
"""
