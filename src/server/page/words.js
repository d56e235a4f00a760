// Elements, numbers and times in words. Text from the database becomes text nodes, never markup.
const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function span(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const s = Math.max(0, seconds);
  const two = (large, unit, small, rest) => (rest ? `${large} ${unit} ${rest} ${small}` : `${large} ${unit}`);
  if (s < 1) return `${s.toFixed(1)} s`;
  if (s < 60 || (s < 120 && s !== 60)) return `${Math.round(s)} s`;
  if (s < 7200 && s % 3600) return two(Math.floor(s / 60), 'min', 's', s < 600 ? Math.floor(s % 60) : 0);
  if (s < 172800) return two(Math.floor(s / 3600), 'h', 'min', Math.floor((s % 3600) / 60));
  return `${Math.floor(s / 86400)} days`;
}
function millis(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  return span(ms / 1000);
}
const count = (n) => (n === null || n === undefined ? '–' : n.toLocaleString('en'));
function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n.toFixed(unit && n < 10 ? 1 : 0)} ${units[unit]}`;
}
const when = (text) => (text ? new Date(text).toLocaleString() : '–');
const since = (text, now) => (text ? (now - Date.parse(text)) / 1000 : null);
const TROUBLE = ['failing', 'suspended', 'quarantined'];
const inTrouble = (view) => view.is_late || TROUBLE.includes(view.status);
const KINDS = { f: 'fast', c: 'complete', x: 'failed' };

// What to call a view's state: the dictionary's word, unless something more urgent is known.
function stateOf(view) {
  if (TROUBLE.includes(view.status)) return view.status;
  if (view.is_refreshing) return 'refreshing';
  return view.is_late && view.status === 'ok' ? 'late' : view.status;
}
function schedule(view) {
  const parts = [];
  if (view.rate_s !== null) parts.push(`every ${span(view.rate_s)}`);
  if (view.cron) parts.push(`cron ${view.cron} (${view.time_zone || 'UTC'})`);
  return parts.join(', ') || 'on request';
}
function due(view, now) {
  if (!view.due_at) return ['suspended', 'disabled', 'dropped'].includes(view.status) ? 'never' : 'on request';
  const left = -since(view.due_at, now);
  if (view.is_refreshing) return 'running';
  return left <= 0 ? (left > -10 ? 'now' : `now, for ${span(-left)}`) : `in ${span(left)}`;
}
