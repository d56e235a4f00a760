// A view's last durations in a glance, and its history over time.
function sparkline(view) {
  const values = view.recent_ms;
  const label = values.length
    ? `last ${values.length} refreshes, ${millis(Math.min(...values))} to ${millis(Math.max(...values))}`
    : 'no refreshes yet';
  const picture = svg('svg', { class: 'spark', viewBox: '0 0 98 22', role: 'img', 'aria-label': label });
  picture.append(svg('title', {}, label));
  // the square root keeps both the quick and the slow ones visible
  const top = Math.sqrt(Math.max(...values, 0.1));
  const paths = { f: '', c: '', x: '' };
  values.forEach((ms, index) => {
    const x = 98 - 4 * (values.length - index) + 2;
    const height = Math.max(2, 20 * Math.sqrt(ms) / top);
    paths[view.recent_kinds[index]] += `M${x} 22V${(22 - height).toFixed(1)}`;
  });
  for (const [kind, path] of Object.entries(paths)) {
    if (path) picture.append(svg('path', { class: `stroke-${kind}`, d: path }));
  }
  return picture;
}

// Told apart by shape as well as by colour.
function mark(kind, x, y, size = 3.4) {
  if (kind === 'f') return svg('circle', { class: 'fill-f', cx: x, cy: y, r: size });
  if (kind === 'c') return svg('rect', { class: 'fill-c', x: x - size, y: y - size, width: 2 * size, height: 2 * size });
  return svg('path', { class: 'stroke-x', 'stroke-width': 2, d: `M${x - size} ${y - size}l${2 * size} ${2 * size}m0 ${-2 * size}l${-2 * size} ${2 * size}` });
}
function legend() {
  const entry = (kind) => el('span', {}, svg('svg', { viewBox: '0 0 12 12', 'aria-hidden': 'true' }, mark(kind, 6, 6, 4)), ` ${KINDS[kind]}`);
  return el('p', { class: 'legend' }, Object.keys(KINDS).map(entry));
}
const kindOf = (row) => (row.outcome === 'failed' ? 'x' : row.method === 'fast' ? 'f' : 'c');

// Points over time on a logarithmic scale, as fast and complete refreshes lie orders of magnitude apart.
function chart(title, rows, value, show) {
  const [width, height, left, right, top, bottom] = [640, 230, 58, 12, 10, 26];
  const points = rows.map((row) => ({ row, t: Date.parse(row.started_at), v: value(row) })).filter((p) => p.v !== null);
  const label = points.length ? `${title}: ${points.length} refreshes` : `${title}: nothing yet`;
  const picture = svg('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label });
  if (!points.length) {
    picture.append(svg('text', { x: width / 2, y: height / 2, 'text-anchor': 'middle' }, 'nothing yet'));
    return picture;
  }
  const log = (v) => Math.log10(Math.max(v, 0) + 0.1);
  const times = points.map((p) => p.t);
  let [from, to] = [Math.min(...times), Math.max(...times)];
  if (to - from < 1000) { from -= 30000; to += 30000; }
  const low = Math.floor(Math.min(...points.map((p) => log(p.v))));
  const high = Math.max(low + 1, Math.ceil(Math.max(...points.map((p) => log(p.v)))));
  const x = (t) => left + (width - left - right) * (t - from) / (to - from);
  const y = (l) => top + (height - top - bottom) * (1 - (l - low) / (high - low));
  for (let power = low; power <= high; power += 1) {
    picture.append(
      svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(power), y2: y(power) }),
      svg('text', { x: left - 6, y: y(power) + 4, 'text-anchor': 'end' }, show(power < 0 ? 0 : 10 ** power)));
  }
  const days = to - from > 86400000;
  for (let step = 0; step <= 4; step += 1) {
    const t = new Date(from + (to - from) * step / 4);
    const text = days ? t.toLocaleDateString() : t.toLocaleTimeString();
    picture.append(svg('text', { x: x(t.getTime()), y: height - 8, 'text-anchor': step === 0 ? 'start' : step === 4 ? 'end' : 'middle' }, text));
  }
  picture.append(svg('line', { class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  for (const p of points) {
    const point = mark(kindOf(p.row), x(p.t), y(log(p.v)));
    point.append(svg('title', {}, `${when(p.row.started_at)}: ${KINDS[kindOf(p.row)]}, ${show(p.v)}${p.row.reason ? `: ${p.row.reason}` : ''}`));
    picture.append(point);
  }
  return picture;
}
