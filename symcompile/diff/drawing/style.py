"""Style sheet and script of the page.

The script only adds comfort: without it everything is there to read.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --ink: #1f2328; --quiet: #59636e; --rule: #d1d9e0; --card: #f6f8fa;
  --box: #ffffff; --edge: #8c959f;
  --green: #116329; --green-line: #1a7f37; --green-back: #dafbe1; --green-mark: #aceebb;
  --red: #a40e26; --red-line: #cf222e; --red-back: #ffebe9; --red-mark: #ffc1ba;
  --amber: #7d4e00; --amber-line: #bf8700; --amber-back: #fff4ce; --violet: #6639ba;
  --violet-line: #8250df; --violet-back: #f4eeff; --blue-back: #ddf4ff; --blue: #0550ae }
@media (prefers-color-scheme: dark) { :root {
  --page: #0d1117; --ink: #e6edf3; --quiet: #9198a1; --rule: #3d444d; --card: #151b23;
  --box: #1c232c; --edge: #6e7681;
  --green: #7ee787; --green-line: #3fb950; --green-back: #12261e; --green-mark: #1c5a2d;
  --red: #ffa198; --red-line: #f85149; --red-back: #2d1618; --red-mark: #7d2a28;
  --amber: #f2cc60; --amber-line: #d29922; --amber-back: #2b2211; --violet: #d2a8ff;
  --violet-line: #a371f7; --violet-back: #231a36; --blue-back: #0f2536; --blue: #79c0ff } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1.75rem 3rem; max-width: 1560px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
h1 { font-size: 1.35rem; margin: 0 0 .35rem }
h2 { font-size: 1.12rem; margin: 2.2rem 0 .7rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--rule) }
h2 .quiet { font-weight: 400; font-size: .88rem; margin-left: .5em }
h3 { font-size: 1rem; margin: 0 }
p { margin: .3rem 0 }
a { color: inherit }
code, .eq, text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
  monospace; unicode-bidi: isolate }
code, .eq { font-size: .9em; overflow-wrap: anywhere }
.quiet { color: var(--quiet); font-size: .9rem }
.arrow-word { color: var(--quiet); padding: 0 .35em }
.verdict { display: inline-block; padding: .2em .85em; border-radius: 2em; font-weight: 600;
  border: 1px solid; margin: .3rem .6rem .3rem 0 }
.good, .better { color: var(--green) } .bad, .worse { color: var(--red) }
.verdict.good { background: var(--green-back) } .verdict.bad { background: var(--red-back) }
.chips { display: flex; flex-wrap: wrap; gap: .45rem; margin: .5rem 0 }
.badge { display: inline-block; border: 1px solid var(--rule); border-radius: .35em;
  padding: .03em .6em; font-size: .84rem; font-weight: 600; white-space: nowrap;
  background: var(--card); color: var(--quiet) }
.badge.changed { color: var(--amber); background: var(--amber-back);
  border-color: var(--amber-line) }
.badge.added { color: var(--green); background: var(--green-back);
  border-color: var(--green-line) }
.badge.removed { color: var(--red); background: var(--red-back);
  border: 1px dashed var(--red-line) }
.badge.grave { color: var(--red); background: var(--red-back); border-color: var(--red-line) }
.notes { border-left: 3px solid var(--blue); background: var(--blue-back); padding: .4rem .9rem;
  margin: .8rem 0; border-radius: 0 .4em .4em 0 }
.card { border: 1px solid var(--rule); border-radius: .5em; margin: .8rem 0; overflow: hidden;
  break-inside: avoid }
.card > header { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline;
  padding: .5rem .9rem; background: var(--card); border-bottom: 1px solid var(--rule) }
.card > .body { padding: .3rem .9rem .7rem }
.card:target { outline: 2px solid var(--blue) }
.equation { padding: .45rem 0 }
.equation + .equation { border-top: 1px dotted var(--rule) }
.equation > h4 { margin: 0 0 .25rem; font-size: .9rem }
.eq { display: block; padding: .22rem .6rem .22rem 1.9rem; text-indent: -1.3rem;
  border-radius: .25em; line-height: 1.6; background: var(--card) }
.eq + .eq { margin-top: 2px }
.eq.old { background: var(--red-back) } .eq.new { background: var(--green-back) }
.eq::before { content: attr(data-sign); display: inline-block; width: 1.3rem; text-indent: 0;
  font-weight: 700; color: var(--quiet) }
.eq.old::before { color: var(--red) } .eq.new::before { color: var(--green) }
.eq del, .eq ins { border-radius: .2em; padding: .08em .12em; margin: 0 .03em;
  text-decoration: none; box-decoration-break: clone; -webkit-box-decoration-break: clone }
.eq del { background: var(--red-mark); border-bottom: 2px dashed var(--red-line) }
.eq ins { background: var(--green-mark); border-bottom: 2px solid var(--green-line) }
.figures { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; align-items: flex-start }
.scroll { overflow-x: auto; max-width: 100% }
table { border-collapse: collapse; margin: .5rem 0; font-size: .88rem;
  font-variant-numeric: tabular-nums }
th, td { padding: .16rem .75rem .16rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); overflow-wrap: anywhere }
th { font-weight: 600; color: var(--quiet); white-space: nowrap }
td.number, th.number { text-align: right; white-space: nowrap }
tr:last-child > td { border-bottom: none }
tr.moved td { background: var(--amber-back) }
table.wide { width: 100% }
.bar { vertical-align: middle } .bar .axis { fill: var(--rule) }
.bar .part { fill: var(--blue) }
.remarks { margin: .35rem 0 0; padding: 0; list-style: none; font-size: .9rem }
.remarks b { font-weight: 600; color: var(--quiet); margin-right: .5em }
details > summary { cursor: pointer; padding: .25rem 0 }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
  border: 1px solid var(--rule); border-radius: .5em }
.sides > .head { position: sticky; top: 0; z-index: 1; padding: .4rem .9rem;
  background: var(--card); border-bottom: 1px solid var(--rule);
  border-radius: .5em .5em 0 0; font-size: .92rem }
.sides > :nth-child(even) { border-left: 1px solid var(--rule) }
.side { overflow-x: auto }
.graph { display: block; margin: 0 auto; width: 100%; height: auto }
.hidden { position: absolute }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; align-items: center;
  margin: .5rem 0 .7rem; font-size: .88rem; color: var(--quiet) }
.legend svg { vertical-align: -.45em; margin-right: .4em }
.band { fill: var(--card) }
.band.added { fill: var(--green-back); opacity: .55 }
.band.removed { fill: var(--red-back); opacity: .55 }
.band.changed, .band.moved { fill: var(--amber-back); opacity: .55 }
.line { fill: none; stroke: var(--edge); stroke-width: 1.3 }
.line.arrow { marker-end: url(#head-same) } .head { fill: var(--edge) }
.line.added { stroke: var(--green-line); stroke-width: 2.2 }
.line.added.arrow { marker-end: url(#head-added) } .head.added { fill: var(--green-line) }
.line.removed { stroke: var(--red-line); stroke-width: 2; stroke-dasharray: 6 4 }
.line.removed.arrow { marker-end: url(#head-removed) } .head.removed { fill: var(--red-line) }
.box { fill: var(--box); stroke: var(--edge); stroke-width: 1.2 }
.cell text { text-anchor: middle; font-size: 11px; fill: var(--quiet) }
.cell text.title { font-size: 12px; font-weight: 600; fill: var(--ink) }
.cell.input .box, .cell.output .box { fill: var(--blue-back); stroke: var(--blue) }
.cell.block .box { fill: var(--violet-back); stroke: var(--violet-line) }
.cell .bars { fill: none; stroke: var(--violet-line); stroke-width: 1.2 }
.cell.neural .bars { stroke: var(--edge) }
.cell.block text.title { fill: var(--violet) }
.cell.fold .box { fill: var(--page); stroke-dasharray: 1.5 3; stroke-linecap: round }
.cell.fold text.title { font-weight: 400; fill: var(--quiet) }
.cell.added .box { fill: var(--green-back); stroke: var(--green-line); stroke-width: 2.4 }
.cell.removed .box { fill: var(--red-back); stroke: var(--red-line); stroke-width: 2;
  stroke-dasharray: 6 4 }
.cell.changed .box { fill: var(--amber-back); stroke: var(--amber-line); stroke-width: 2.4 }
.cell.moved .box { fill: var(--amber-back); stroke: var(--amber-line); stroke-width: 2.4;
  stroke-dasharray: 10 3 2 3 }
.cell.changed .bars { stroke: var(--amber-line) } .cell.added .bars { stroke: var(--green-line) }
.cell.removed .bars { stroke: var(--red-line) }
.cell text.note { font-weight: 600 } .cell.added text.note { fill: var(--green) }
.cell.removed text.note { fill: var(--red) }
.cell.changed text.note, .cell.moved text.note { fill: var(--amber) }
.graph a { text-decoration: none } .graph a:hover text.title { text-decoration: underline }
.cell.lit .box, .cell:target .box { stroke: var(--blue); stroke-width: 3.2 }
.line.lit { stroke: var(--blue); stroke-width: 2.6 }
input[type=search] { font: inherit; padding: .25em .6em; border: 1px solid var(--rule);
  border-radius: .35em; background: var(--page); color: inherit; min-width: 18em }
footer { margin-top: 2.5rem; padding-top: .6rem; border-top: 1px solid var(--rule) }
@media (max-width: 800px) { body { padding: .8rem }
  .card > .body, .card > header { padding-left: .6rem; padding-right: .6rem } }
@media print { :root { color-scheme: light;
  --page: #fff; --ink: #000; --quiet: #444; --rule: #bbb; --card: #f6f8fa; --box: #fff;
  --edge: #777; --green: #116329; --green-line: #1a7f37; --green-back: #e6f9ea;
  --green-mark: #aceebb; --red: #a40e26; --red-line: #cf222e; --red-back: #fff0ee;
  --red-mark: #ffc1ba; --amber: #7d4e00; --amber-line: #bf8700; --amber-back: #fff8e0;
  --violet: #6639ba; --violet-line: #8250df; --violet-back: #f7f2ff; --blue-back: #eaf6ff;
  --blue: #0550ae }
  html { font-size: 11px }
  body { font-size: 10.5px; padding: 0; max-width: none; print-color-adjust: exact;
    -webkit-print-color-adjust: exact }
  h2, h4, .card > header { break-after: avoid } .card { break-inside: auto; overflow: visible }
  h2.drawn { break-before: page } .equation, .legend { break-inside: avoid }
  .scroll { overflow: visible }
  th { white-space: normal } th, td { padding-right: .9em }
  .sides > .head { position: static } .side { overflow: hidden }
  .graph { min-width: 0 } .filter { display: none } }
"""

SCRIPT = """
(() => {
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const sides = all('.side');
  let lit = [], shown = null;
  const light = (id) => {
    if (id === shown) return;
    shown = id;
    lit.forEach((one) => one.classList.remove('lit'));
    lit = id === null ? [] : all(
      `.graph [data-cell="${id}"], .graph [data-from="${id}"], .graph [data-to="${id}"]`);
    lit.forEach((one) => one.classList.add('lit'));
  };
  sides.forEach((side, k) => {
    side.addEventListener('pointerover', (event) => {
      const cell = event.target.closest('[data-cell]');
      light(cell ? cell.dataset.cell : null);
    });
    side.addEventListener('pointerleave', () => light(null));
    side.addEventListener('scroll', () => {
      const other = sides[1 - k];
      if (other && other.scrollLeft !== side.scrollLeft) other.scrollLeft = side.scrollLeft;
    });
  });
  all('.filter').forEach((label) => {
    label.hidden = false;
    const field = label.querySelector('input');
    const rows = all('tbody tr', label.parentElement);
    field.addEventListener('input', () => {
      const wanted = field.value.toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    });
  });
  const opened = [];
  addEventListener('beforeprint', () => all('details:not([open])').forEach((one) => {
    opened.push(one);
    one.open = true;
  }));
  addEventListener('afterprint', () => opened.splice(0).forEach((one) => { one.open = false; }));
})();
"""
