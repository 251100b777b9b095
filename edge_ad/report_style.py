"""The report page's style sheet and script, embedded as they stand: the page needs no other file."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #16191d; --soft: #5c6570; --line: #dfe3e8;
  --accent: #2459c4; --second: #b3551d; --good: #2f7d4f; --bad: #c8372d; --warn: #9a6700;
  --good-soft: #e2f3e8; --bad-soft: #fbe5e2; --warn-soft: #fbf0d5; --plain-soft: #eceff3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111418; --card: #1a1f25; --text: #e7eaee; --soft: #98a2ae; --line: #2c343d;
    --accent: #7da7ff; --second: #f0a060; --good: #62c48a; --bad: #ff7a6e; --warn: #e3b341;
    --good-soft: #173324; --bad-soft: #3d1d1b; --warn-soft: #362b10; --plain-soft: #262d35;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); line-height: 1.45;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 40px 0 12px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
p { margin: 6px 0; } .soft { color: var(--soft); }
.settings { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0 20px; color: var(--soft); font-size: 13px; }
.settings b { color: var(--text); font-weight: 600; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 18px 0; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 12px 14px; } .tile b { display: block; font-size: 24px; font-weight: 650; }
.tile b small { font-size: 14px; font-weight: 500; color: var(--soft); }
.tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; } .card { padding: 14px 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); font-size: 12.5px; } th:first-child, td:first-child { text-align: left; }
tbody tr:last-child td { border-bottom: 0; } tr.mean td { font-weight: 650; border-top: 2px solid var(--line); }
td a { color: var(--accent); text-decoration: none; } td a:hover { text-decoration: underline; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 12px; margin: 12px 0; }
.chart { padding: 10px 12px 6px; } .chart h3 { margin: 0; flex-basis: 100%; font-size: 14px; font-weight: 600; }
.chart .legend { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: center; font-size: 12px;
  margin-bottom: 4px; }
.chart .legend span { display: inline-flex; gap: 5px; align-items: center; } .chart .legend svg { width: 20px; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--soft); }
svg .legend { fill: var(--text); paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .label.good { fill: var(--good); } svg .label.bad { fill: var(--bad); }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.chance { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 4; }
.line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.line.pixel { stroke: var(--second); stroke-dasharray: 6 3; }
.bar.good { fill: var(--good); } .bar.bad { fill: var(--bad); }
.threshold { stroke: var(--text); stroke-width: 1.5; stroke-dasharray: 5 3; }
.filters { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 8px; align-items: center;
  padding: 10px 0; background: var(--page); border-bottom: 1px solid var(--line); margin-top: 32px; }
.filters select, .filters button { font: inherit; font-size: 14px; color: var(--text); background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; padding: 5px 12px; cursor: pointer; }
.filters button[aria-pressed="true"] { background: var(--accent); border-color: var(--accent); color: var(--card); }
.filters :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.filters output { margin-left: auto; color: var(--soft); font-size: 13px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr)); gap: 12px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 12px; }
figure.wrong { border-color: var(--bad); }
figcaption { display: flex; gap: 8px; white-space: nowrap; align-items: center; font-size: 13px; margin-bottom: 8px; }
figcaption .name { font-weight: 600; min-width: 0; overflow: hidden; text-overflow: ellipsis; }
figcaption .score { margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums; }
.chip { border-radius: 99px; padding: 1px 9px; font-size: 12px; font-weight: 600; background: var(--plain-soft); }
.chip.correct { background: var(--good-soft); color: var(--good); }
.chip.missed, .chip.alarm { background: var(--bad-soft); color: var(--bad); }
.chip.undecided { background: var(--warn-soft); color: var(--warn); }
.views { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; }
.views div { font-size: 11.5px; color: var(--soft); text-align: center; }
.views img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 6px;
  background: var(--plain-soft); margin-bottom: 2px; }
.views .none { display: grid; place-items: center; aspect-ratio: 1; border-radius: 6px; margin-bottom: 2px;
  border: 1px dashed var(--line); }
[hidden] { display: none !important; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
@media print { .filters { display: none; } figure, .card, .tile { break-inside: avoid; } }
"""

JS = """
(() => {
  const figures = [...document.querySelectorAll('figure')];
  const sections = [...document.querySelectorAll('section[data-category]')];
  const select = document.querySelector('#category');
  const buttons = [...document.querySelectorAll('.filters button')];
  const output = document.querySelector('.filters output');
  let wanted = 'all';
  const fits = figure => wanted === 'all' || figure.dataset.truth === wanted || figure.dataset.outcome === wanted
    || (wanted === 'errors' && figure.classList.contains('wrong'));
  const update = () => {
    for (const section of sections) section.hidden = select.value !== '' && section.dataset.category !== select.value;
    let shown = 0;
    for (const figure of figures) {
      figure.hidden = !fits(figure);
      if (!figure.hidden && !figure.closest('section').hidden) shown += 1;
    }
    for (const button of buttons) button.setAttribute('aria-pressed', String(button.value === wanted));
    output.textContent = shown + ' of ' + figures.length + ' images';
  };
  select.addEventListener('change', update);
  for (const button of buttons) button.addEventListener('click', () => { wanted = button.value; update(); });
  update();
})();
"""
