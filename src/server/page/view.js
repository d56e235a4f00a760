// One view: what it is, what happened, what would happen next, and why.
const fact = (term, ...value) => el('div', {}, el('dt', {}, term), el('dd', {}, value));

function facts(view, state) {
  const now = state.now();
  const reads = [...view.reads_views.map((id) => state.byId.get(id)).filter(Boolean)
    .map((read) => el('a', { href: `#/view/${read.id}` }, read.name)), ...view.reads_tables]
    .flatMap((part, index) => (index ? [', ', part] : [part]));
  const readers = state.views.filter((other) => other.reads_views.includes(view.id))
    .flatMap((reader, index) => [index ? ', ' : '', el('a', { href: `#/view/${reader.id}` }, reader.name)]);
  return el('dl', { class: 'card facts' },
    fact('State', el('span', { class: `status ${stateOf(view)}` }, stateOf(view))),
    fact('Staleness', staleParts(view, now).text),
    fact('Next due', due(view, now)),
    fact('Schedule', schedule(view)),
    fact('Method', `${view.method}${view.last_method ? `, last: ${view.last_method}` : ''}`),
    fact('Why', view.last_reason || '–'),
    fact('Took', `${millis(view.last_ms)}, on average ${millis(view.avg_ms)}`),
    fact('Rows changed', count(view.last_rows)),
    fact('Owner', view.owner), view.group && fact('Refresh group', view.group),
    fact('Reads', reads.length ? reads : '–'), readers.length ? fact('Read by', readers) : null,
    view.error && el('div', { class: 'wide' }, el('dt', {}, `Error, ${view.failures === 1 ? 'once' : `${view.failures} times`}, last ${when(view.error_at)}`), el('dd', { class: 'error', style: '-webkit-line-clamp:none' }, view.error),
      view.status === 'suspended' && el('dd', { class: 'small' }, `Correct it, then: mvrefreshd resume '${view.name}'`)));
}

function historyTable(rows) {
  const head = ['Started', 'Method', 'By', 'Took', 'Pending', 'Inserted', 'Updated', 'Deleted', 'Why'];
  const line = (row) => el('tr', {},
    el('td', { class: 'time' }, when(row.started_at)),
    el('td', { class: row.outcome === 'failed' ? 'error' : row.method }, row.outcome === 'failed' ? 'failed' : `${row.method}${row.form ? ` (${row.form})` : ''}`),
    el('td', {}, row.trigger), el('td', { class: 'number' }, millis(row.duration_ms)), el('td', { class: 'number' }, count(row.pending_rows)),
    el('td', { class: 'number' }, count(row.rows_inserted)), el('td', { class: 'number' }, count(row.rows_updated)), el('td', { class: 'number' }, count(row.rows_deleted)),
    el('td', {}, row.error ? el('span', { class: 'error' }, row.error) : row.reason || ''));
  return el('div', { class: 'card scroll', tabindex: 0, role: 'region', 'aria-label': 'Latest refreshes' },
    el('table', {}, el('thead', {}, el('tr', {}, head.map((text) => el('th', { scope: 'col' }, text)))), el('tbody', {}, rows.slice(0, 25).map(line))));
}

function explanationPart(fast, view) {
  if (view.kind === 'native') return el('p', { class: 'card empty-note' }, 'A native MATERIALIZED VIEW, refreshed by REFRESH MATERIALIZED VIEW.');
  if (fast === undefined) return el('p', { class: 'card empty-note' }, 'examining …');
  if (!fast || fast.problem) return el('p', { class: 'card empty-note' }, fast?.problem || 'It can not be examined.');
  if (!fast.is_possible) return el('ul', { class: 'card plain' }, el('li', {}, el('strong', { class: 'complete' }, 'Refreshed completely: '), `${fast.refused_clause}: ${fast.refused_reason}`));
  const each = (strategy, prefix) => el('li', {}, el('strong', {}, `${prefix}${strategy.of}: `), strategy.how);
  return el('ul', { class: 'card plain' }, el('li', {}, el('strong', { class: 'fast' }, 'It can be refreshed fast.')),
    fast.clauses.map((s) => each(s, '')), fast.tables.map((s) => each(s, 'A change of ')),
    fast.missing_indexes.map((index) => el('li', {}, el('strong', { class: 'error' }, 'Missing index: '), el('code', {}, index.statement))));
}

function nextPart(detail) {
  if (!detail.next) return null;
  const next = detail.next;
  const what = next.method === 'none' ? 'none needed' : next.method;
  const costs = [next.fast_ms !== null && next.pending_rows ? `fast ${millis(next.fast_ms)}` : '', next.complete_ms !== null ? `completely ${millis(next.complete_ms)}` : ''].filter(Boolean);
  return el('ul', { class: 'card plain' },
    el('li', {}, el('strong', {}, `Next refresh: ${what}`), next.reason ? `: ${next.reason}` : ''),
    next.pending_rows ? el('li', {}, `${count(next.pending_rows)} logged changes are pending`) : null,
    costs.length ? el('li', {}, `Expected cost now: ${costs.join(', ')}`) : null,
    next.needs_upkeep ? el('li', {}, 'The daemon compiles it, or repairs its logs, at its next look.') : null,
    detail.logs.map((log) => el('li', {}, `Log of ${log.base_table}: `, log.problem ? el('span', { class: 'error' }, log.problem) : log.pending_rows === null ? 'used from the next refresh on' : `${count(log.pending_rows)} rows pending`)),
    detail.audits.map((audit) => {
      const differs = audit.rows_missing + audit.rows_unexpected > 0;
      const found = differs ? el('span', { class: 'error' }, `${audit.rows_missing} rows missing, ${audit.rows_unexpected} unexpected; put right`) : 'equal to its query';
      return el('li', {}, `Audit of ${when(audit.audited_at)}${audit.sampled_by ? ' (a sample)' : ''}: `, found);
    }));
}

function viewPage(state, id) {
  const view = state.byId.get(id);
  if (!view) return [el('p', { class: 'card empty-note' }, 'There is no such materialized view (any more). ', el('a', { href: '#/' }, 'All views'))];
  const detail = state.details.get(id);
  const parts = [el('p', {}, el('a', { href: '#/' }, '← All views')), el('h2', {}, view.name), facts(view, state)];
  if (!detail) return [...parts, el('p', { class: 'card empty-note' }, 'reading its history …')];
  if (detail.problem) return [...parts, el('p', { class: 'card empty-note error' }, detail.problem)];
  const history = detail.history;
  const changed = (row) => (row.outcome === 'failed' || row.rows_inserted === null ? null : row.rows_inserted + (row.rows_updated || 0) + (row.rows_deleted || 0));
  const plain = (n) => (n >= 1e6 ? `${n / 1e6} M` : n >= 1000 ? `${n / 1000} k` : String(Math.round(n)));
  const neighbours = closure([view, ...state.views.filter((other) => other.reads_views.includes(id))], state.byId);
  return [...parts,
    legend(),
    el('div', { class: 'charts' },
      el('section', { class: 'card' }, el('h3', {}, 'Duration'), chart('Duration', history, (row) => row.duration_ms, millis)),
      el('section', { class: 'card' }, el('h3', {}, 'Rows changed'), chart('Rows changed', history, changed, plain))),
    el('h3', {}, 'What comes next'), nextPart(detail),
    el('h3', {}, 'How it is refreshed'), el('div', { id: 'explanation' }, explanationPart(state.explanations.get(id), view)),
    el('h3', {}, 'Dependencies'), el('div', { class: 'card scroll', tabindex: 0, role: 'region', 'aria-label': 'Its dependencies' }, drawGraph(neighbours.slice(0, MOST_NODES), state.byId, id)),
    el('h3', {}, 'Latest refreshes'), history.length ? historyTable(history) : el('p', { class: 'card empty-note' }, 'none yet'),
    detail.query && [el('h3', {}, 'Query'), el('div', { class: 'card' }, el('pre', { tabindex: 0 }, detail.query))]];
}
