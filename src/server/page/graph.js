// Who reads whom: tables on the left, each view to the right of everything it reads.
const MOST_NODES = 240;

// The views to draw: those wanted, and everything that these read.
function closure(wanted, byId) {
  const chosen = new Set();
  const visit = (view) => {
    if (!view || chosen.has(view.id)) return;
    chosen.add(view.id);
    view.reads_views.forEach((id) => visit(byId.get(id)));
  };
  wanted.forEach(visit);
  return [...chosen].map((id) => byId.get(id));
}

function layers(views, byId) {
  const level = new Map();
  const levelOf = (view, path) => {
    if (level.has(view.id)) return level.get(view.id);
    if (path.has(view.id)) return 1;
    path.add(view.id);
    const below = view.reads_views.map((id) => byId.get(id)).filter(Boolean).map((read) => levelOf(read, path));
    level.set(view.id, 1 + Math.max(0, ...below));
    return level.get(view.id);
  };
  const tables = [...new Set(views.flatMap((view) => view.reads_tables))].sort();
  const columns = [tables.map((name) => ({ key: `t:${name}`, name, reads: [] }))];
  for (const view of views) {
    const l = levelOf(view, new Set());
    const reads = [...view.reads_tables.map((name) => `t:${name}`), ...view.reads_views.map((id) => `v:${id}`)];
    for (let column = columns.length; column <= l; column += 1) columns.push([]);
    columns[l].push({ key: `v:${view.id}`, name: view.name, reads, view });
  }
  return columns;
}

// Each node near the middle of what it reads, so that few lines cross.
function arrange(columns) {
  const place = new Map();
  columns.forEach((column, index) => {
    const middle = (node) => {
      const places = node.reads.map((key) => place.get(key)).filter((p) => p !== undefined);
      return places.length ? places.reduce((a, b) => a + b, 0) / places.length : 0;
    };
    if (index > 0) {
      const middles = new Map(column.map((node) => [node, middle(node)]));
      column.sort((a, b) => middles.get(a) - middles.get(b) || a.name.localeCompare(b.name));
    }
    column.forEach((node, row) => place.set(node.key, (row + 0.5) / column.length));
  });
}

function drawGraph(views, byId, here) {
  const columns = layers(views, byId);
  arrange(columns);
  const [boxWidth, boxHeight, gapX, gapY] = [196, 26, 90, 8];
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const width = columns.length * (boxWidth + gapX) - gapX + 8;
  const height = tallest * (boxHeight + gapY) + 8;
  const picture = svg('svg', { class: 'graph', width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': 'Dependencies' });
  const at = new Map();
  columns.forEach((column, index) => {
    const room = height / Math.max(1, column.length);
    column.forEach((node, row) => at.set(node.key, { x: 4 + index * (boxWidth + gapX), y: room * (row + 0.5) - boxHeight / 2 }));
  });
  for (const node of columns.flat()) {
    const to = at.get(node.key);
    for (const key of node.reads) {
      const from = at.get(key);
      if (!from) continue;
      const [x1, y1, x2, y2] = [from.x + boxWidth, from.y + boxHeight / 2, to.x, to.y + boxHeight / 2];
      const bend = (x2 - x1) / 2;
      picture.append(svg('path', { class: 'edge', d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` }));
    }
  }
  for (const node of columns.flat()) picture.append(drawNode(node, at.get(node.key), boxWidth, boxHeight, here));
  return picture;
}

function drawNode(node, { x, y }, width, height, here) {
  const shown = node.name.length > 27 ? `${node.name.slice(0, 26)}…` : node.name;
  const parts = [
    svg('rect', { x, y, width, height, rx: 5 }),
    node.view && svg('rect', { class: node.view.is_fast ? 'fill-f' : 'fill-c', x: x + 8, y: y + 9, width: 8, height: 8, rx: node.view.is_fast ? 4 : 0, style: `stroke:none;fill:var(--${node.view.is_fast ? 'fast' : 'complete'})` }),
    svg('text', { x: x + (node.view ? 23 : 10), y: y + 17 }, shown),
  ];
  if (!node.view) return svg('g', { class: 'table' }, svg('title', {}, `table ${node.name}`), parts);
  const classes = [inTrouble(node.view) && 'trouble', node.view.id === here && 'here'].filter(Boolean).join(' ');
  const label = `${node.name}, ${stateOf(node.view)}`;
  return svg('a', { href: `#/view/${node.view.id}`, class: classes, 'aria-label': label }, svg('title', {}, label), parts);
}

function graphPage(state) {
  const wanted = chosenViews(state);
  let views = closure(wanted, state.byId);
  const cut = views.length > MOST_NODES;
  if (cut) views = closure(wanted.slice(0, MOST_NODES / 2), state.byId);
  const note = cut ? `The first ${count(views.length)} of ${count(wanted.length)} views; filter for others.` : null;
  return [
    tools(state),
    el('p', { class: 'legend' }, el('span', {}, svg('svg', { viewBox: '0 0 12 12', 'aria-hidden': 'true' }, mark('f', 6, 6, 4)), ' refreshed fast'),
      el('span', {}, svg('svg', { viewBox: '0 0 12 12', 'aria-hidden': 'true' }, mark('c', 6, 6, 4)), ' refreshed completely'), el('span', {}, 'dashed: base tables'), note && el('strong', {}, note)),
    views.length
      ? el('div', { class: 'card scroll', tabindex: 0, role: 'region', 'aria-label': 'Dependency graph' }, drawGraph(views, state.byId))
      : el('p', { class: 'card empty-note' }, 'No materialized view matches.'),
  ];
}
