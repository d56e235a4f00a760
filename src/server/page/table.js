// The list of views: filtered, sorted, and changed in place, so that focus and scroll position stay.
const FILTERS = {
  all: ['all', () => true],
  trouble: ['in trouble', inTrouble],
  refreshing: ['refreshing', (view) => view.is_refreshing],
  fast: ['fast', (view) => view.is_fast === true],
  complete: ['complete', (view) => view.is_fast !== true],
};
const ratio = (view) => (view.staleness_s === null || !view.period_s ? -1 : view.staleness_s / view.period_s);
const URGENCY = ['suspended', 'quarantined', 'failing', 'late', 'refreshing', 'empty', 'ok', 'disabled', 'dropped'];
const COLUMNS = [
  ['state', 'State', (view) => URGENCY.indexOf(stateOf(view)), 'ascending'],
  ['name', 'View', (view) => view.name, 'ascending'],
  ['stale', 'Staleness', ratio, 'descending'],
  ['method', 'Method', (view) => `${view.is_fast === true ? 0 : 1}${view.last_method}`, 'ascending'],
  ['took', 'Took', (view) => view.last_ms ?? -1, 'descending'],
  ['rows', 'Rows', (view) => view.last_rows ?? -1, 'descending'],
  ['due', 'Next due', (view) => (view.due_at ? Date.parse(view.due_at) : Infinity), 'ascending'],
];

function chosenViews(state) {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (view) => {
    const text = `${view.name} ${view.owner} ${view.group || ''} ${view.status} ${view.reads_tables.join(' ')}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  return state.views.filter((view) => FILTERS[state.filter][1](view) && matches(view));
}

function sorted(views, state) {
  const value = COLUMNS.find(([key]) => key === state.sort)[2];
  const sign = state.order === 'ascending' ? 1 : -1;
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return views.map((view) => [value(view), view])
    .sort(([a, x], [b, y]) => sign * compare(a, b) || compare(x.name, y.name))
    .map(([, view]) => view);
}

// Search and filters; made once per page, so that what is being typed stays.
function tools(state) {
  const search = el('input', { type: 'search', id: 'search', placeholder: 'Filter by name, table, owner, state', 'aria-label': 'Filter views', value: state.search, autocomplete: 'off', spellcheck: 'false',
    oninput: (event) => { state.search = event.target.value; redraw(); } });
  const chips = Object.entries(FILTERS).map(([key, [label, test]]) => el('button', {
    type: 'button', 'data-filter': key, class: key === 'trouble' && state.views.some(test) ? 'trouble' : null,
    'aria-pressed': String(state.filter === key), onclick: () => { state.filter = key; redraw(); },
  }, `${label} `, el('b', {}, count(state.views.filter(test).length))));
  return el('div', { class: 'tools' }, search, el('div', { class: 'chips', role: 'group', 'aria-label': 'Which views' }, chips),
    el('span', { class: 'hint' }, el('kbd', {}, '/'), ' filter, ', el('kbd', {}, 'j'), el('kbd', {}, 'k'), ' move'));
}

function heading(state) {
  return el('tr', {}, COLUMNS.map(([key, label, , first]) => {
    const turned = state.order === 'ascending' ? 'descending' : 'ascending';
    const choose = () => {
      state.order = state.sort === key ? turned : first;
      state.sort = key;
      redraw();
    };
    return el('th', { scope: 'col', 'aria-sort': state.sort === key ? state.order : null }, el('button', { type: 'button', 'data-sort': key, onclick: choose }, label));
  }));
}

function methodCell(view) {
  const last = view.last_method && view.last_method !== 'none' ? view.last_method : null;
  const how = last || (view.is_fast === true ? 'fast' : 'complete');
  const why = view.refused || view.last_reason || (view.is_fast === null ? 'not compiled yet' : '');
  return el('td', { class: 'method' },
    el('span', { class: how }, view.kind === 'native' ? 'native' : how),
    view.method === 'auto' ? null : el('span', { class: 'small' }, ` (set: ${view.method})`),
    el('span', { class: 'small clip', title: why }, why));
}

function staleParts(view, now) {
  const stale = view.right_at ? since(view.right_at, now) : null;
  const of = view.period_s ? ` / ${span(view.period_s)}` : '';
  const share = stale !== null && view.period_s ? stale / view.period_s : 0;
  // a refresh takes its time, and a worker must be free
  const level = share > 3 ? 'bad' : share > 1.5 ? 'warn' : null;
  return { text: `${stale === null ? 'never' : span(stale)}${of}`, width: Math.min(100, share * 100), level };
}

function rowOf(view) {
  const state = stateOf(view);
  return el('tr', { 'data-id': view.id },
    el('td', { class: 'state' }, el('span', { class: `status ${state}` }, state)),
    el('td', { class: 'name' }, el('a', { href: `#/view/${view.id}` }, view.name),
      view.error && el('span', { class: 'error', title: view.error }, view.error)),
    el('td', { class: 'stale' }, el('span', { class: 'stale-text' }), el('span', { class: 'bar' }, el('i', {}))),
    methodCell(view),
    el('td', { class: 'took' }, el('span', { title: 'last; on average ' + millis(view.avg_ms) }, millis(view.last_ms)), sparkline(view)),
    el('td', { class: 'rows' }, count(view.last_rows)),
    el('td', { class: 'due' }, el('span', { class: 'due-text' }), el('span', { class: 'small clip' }, schedule(view))));
}

const fingerprint = ({ staleness_s, late_s, right_at, due_at, ...rest }) => JSON.stringify(rest);

function tick(row, view, now) {
  const { text, width, level } = staleParts(view, now);
  const change = (element, value) => { if (element.textContent !== value) element.textContent = value; };
  change(row.querySelector('.stale-text'), text);
  const bar = row.querySelector('.bar i');
  bar.style.width = `${width.toFixed(1)}%`;
  bar.className = level || '';
  change(row.querySelector('.due-text'), due(view, now));
}

const ROWS = new Map();
function fillTable(body, state) {
  const views = sorted(chosenViews(state), state);
  const rows = views.map((view) => {
    const print = fingerprint(view);
    let known = ROWS.get(view.id);
    if (!known || known.print !== print) {
      const fresh = rowOf(view);
      const hadFocus = known && known.row.contains(document.activeElement);
      if (known && known.row.parentNode) known.row.replaceWith(fresh);
      if (hadFocus) fresh.querySelector('a').focus();
      known = { print, row: fresh };
      ROWS.set(view.id, known);
    }
    tick(known.row, view, state.now());
    return known.row;
  });
  const there = [...body.children];
  if (there.length !== rows.length || rows.some((row, index) => row !== there[index])) {
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    body.replaceChildren(...rows);
    if (focused && body.contains(focused)) focused.focus({ preventScroll: true });
  }
  return rows.length;
}

function viewsPage(state) {
  const table = el('table', { id: 'views' }, el('caption', { class: 'skip' }, 'Materialized views'), el('thead', {}, heading(state)), el('tbody', {}));
  const shown = fillTable(table.tBodies[0], state);
  const none = state.views.length ? 'No materialized view matches.' : 'There are no materialized views yet: mvrefreshd create --help shows how to make one.';
  return [tools(state), el('div', { class: 'card scroll' }, table), shown ? null : el('p', { class: 'empty-note' }, none)];
}

function logsPage(state) {
  const row = (log) => el('tr', {}, el('td', { class: 'name' }, log.base_table), el('td', { class: 'number' }, `≈ ${count(log.rows)}`),
    el('td', { class: 'number' }, bytes(log.bytes)), el('td', { class: 'number' }, count(log.readers)));
  const head = ['Base table', 'Rows kept', 'On disk', 'Views that read it'].map((text, index) => el('th', { scope: 'col', class: index ? 'number' : null }, text));
  return [
    el('p', { class: 'legend' }, 'Changes of base tables that are kept for fast refreshes. What every view has taken in is deleted by upkeep.'),
    state.logs.length
      ? el('div', { class: 'card scroll' }, el('table', { id: 'logs' }, el('thead', {}, el('tr', {}, head)), el('tbody', {}, state.logs.map(row))))
      : el('p', { class: 'card empty-note' }, 'No base table is logged: no materialized view is refreshed fast yet.'),
  ];
}
