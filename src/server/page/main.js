// The state, what is asked for and when, and which page is shown.
const POLL = 3000;
const state = {
  views: [], logs: [], byId: new Map(), details: new Map(), explanations: new Map(),
  search: '', filter: 'all', sort: 'state', order: 'ascending', loaded: false,
  // the database's clock, as far as it can be told here
  ahead: 0,
  now() { return Date.now() + this.ahead; },
};
const main = document.getElementById('main');
let seenAt = null;

function route() {
  const [, page = '', id = ''] = location.hash.split('/');
  return page === 'view' ? { page, id: Number(id) } : { page: ['graph', 'logs'].includes(page) ? page : 'views' };
}

// Draws the page anew; keeps what is focused, where it is still there.
function redraw() {
  const { page, id } = route();
  const active = document.activeElement;
  const selector = active && active.id === 'search' ? '#search'
    : active?.dataset?.filter ? `[data-filter="${active.dataset.filter}"]`
      : active?.dataset?.sort ? `[data-sort="${active.dataset.sort}"]` : null;
  const selection = active && active.id === 'search' ? [active.selectionStart, active.selectionEnd] : null;
  const href = !selector && main.contains(active) ? active.getAttribute('href') : null;
  const [left, top] = [window.scrollX, window.scrollY];
  const inner = [...main.querySelectorAll('.scroll')].map((part) => [part.scrollLeft, part.scrollTop]);
  const drawn = !state.loaded ? [el('p', { class: 'empty-note' }, 'reading …')]
    : page === 'view' ? viewPage(state, id) : page === 'graph' ? graphPage(state) : page === 'logs' ? logsPage(state) : viewsPage(state);
  main.replaceChildren(...drawn.flat(Infinity).filter(Boolean));
  [...main.querySelectorAll('.scroll')].forEach((part, index) => { if (inner[index]) [part.scrollLeft, part.scrollTop] = inner[index]; });
  window.scrollTo(left, top);
  const again = selector ? main.querySelector(selector) : href ? main.querySelector(`a[href="${href}"]`) : null;
  if (again) {
    again.focus({ preventScroll: true });
    if (selection) again.setSelectionRange(...selection);
  }
  const current = page === 'view' || page === 'views' ? '#/' : `#/${page}`;
  document.querySelectorAll('nav a').forEach((link) => {
    if (link.getAttribute('href') === current) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  });
  const trouble = state.views.filter(inTrouble).length;
  document.title = `${trouble ? `(${trouble}) ` : ''}${page === 'view' ? `${state.byId.get(id)?.name || ''} · ` : ''}mvrefreshd`;
}

// One of several databases is shown: the one in the page's address, else the first.
const which = new URLSearchParams(location.search).get('database');
const asked = (path) => (which === null ? path : `${path}?${new URLSearchParams({ database: which })}`);
const choice = document.getElementById('databases');
choice.addEventListener('change', () => { location.href = `?${new URLSearchParams({ database: choice.value })}#/`; });

function showDatabases(data) {
  const several = data.databases && data.databases.length > 1;
  choice.hidden = !several;
  document.getElementById('database').textContent = several ? '·' : `· ${data.database}`;
  if (!several || document.activeElement === choice) return;
  choice.replaceChildren(...data.databases.map(({ database, is_up: isUp, status }) => {
    const option = el('option', { value: database, title: status }, isUp ? database : `${database} – not up`);
    option.selected = database === data.database;
    return option;
  }));
}

function showHead(data, failure) {
  const bad = failure || data.problem;
  document.getElementById('state').classList.toggle('bad', Boolean(bad));
  document.getElementById('state').textContent = failure ? 'the daemon does not answer' : data.status;
  if (data && data.database) showDatabases(data);
  const problem = document.getElementById('problem');
  problem.hidden = !bad;
  problem.textContent = bad ? `${failure || `The database can't be read: ${data.problem}`}${state.loaded ? '. What is shown is old.' : ''}` : '';
}

async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: 'application/json' } });
  const data = await answer.json();
  if (!answer.ok && !data.problem) throw new Error(`${answer.status} ${answer.statusText}`);
  return data;
}

// What the graph shows; it is drawn anew only when that changes.
const picture = () => JSON.stringify(state.views.map((view) => [view.id, view.name, stateOf(view), view.is_fast, view.reads_views]));
let drawn = '';

async function poll() {
  try {
    const data = await ask(asked('api/views'));
    if (data.views) {
      Object.assign(state, { views: data.views, logs: data.logs, loaded: true });
      state.byId = new Map(data.views.map((view) => [view.id, view]));
      if (!data.problem) {
        // what was read a while ago was read at `database_now`; it never goes forwards by being slow
        const ahead = Date.parse(data.database_now) - Date.now();
        state.ahead = seenAt === null || Math.abs(ahead - state.ahead) > 5000 ? ahead : Math.max(ahead, state.ahead);
        seenAt = Date.now();
      }
    }
    showHead(data, null);
    await readView();
  } catch (error) {
    showHead(null, `The daemon does not answer: ${error.message}`);
  }
  // while something is being pointed at or typed in a graph, it stays as it is
  const { page } = route();
  const table = document.querySelector('#views tbody');
  if (page === 'views' && table && state.loaded) {
    fillTable(table, state);
    for (const [key, [, test]] of Object.entries(FILTERS)) {
      const number = document.querySelector(`[data-filter="${key}"] b`);
      if (number) number.textContent = count(state.views.filter(test).length);
    }
    const trouble = state.views.filter(inTrouble).length;
    document.title = `${trouble ? `(${trouble}) ` : ''}mvrefreshd`;
  } else if (page !== 'graph' || drawn !== picture()) {
    drawn = picture();
    redraw();
  }
}

async function readView() {
  const { page, id } = route();
  if (page !== 'view' || !state.byId.has(id)) return;
  const wasKnown = state.details.has(id);
  state.details.set(id, await ask(asked(`api/views/${id}`)));
  if (!wasKnown) redraw();
  if (!state.explanations.has(id) && state.byId.get(id).kind !== 'native') {
    const explanation = await ask(asked(`api/views/${id}/explanation`));
    if (!explanation.problem) state.explanations.set(id, explanation);
    redraw();
  }
}

// One question at a time, and none while nobody looks.
async function live() {
  for (;;) {
    if (!document.hidden) await poll();
    await new Promise((wake) => {
      const timer = setTimeout(wake, POLL);
      document.addEventListener('visibilitychange', () => { clearTimeout(timer); wake(); }, { once: true });
    });
  }
}

setInterval(() => {
  if (document.hidden) return;
  const age = document.getElementById('age');
  age.textContent = seenAt === null ? '' : Date.now() - seenAt < 2 * POLL ? 'live' : `as of ${span((Date.now() - seenAt) / 1000)} ago`;
  for (const row of document.querySelectorAll('#views tbody tr')) {
    const view = state.byId.get(Number(row.dataset.id));
    if (view) tick(row, view, state.now());
  }
}, 1000);

addEventListener('hashchange', () => {
  redraw();
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
  readView().catch((error) => showHead(null, error.message));
});
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches('input');
  if (event.key === 'Escape' && typing) { state.search = ''; event.target.value = ''; redraw(); return; }
  if (typing) { if (event.key === 'Enter') document.querySelector('#views tbody a')?.focus(); return; }
  if (event.key === '/') {
    event.preventDefault();
    if (route().page === 'views' || route().page === 'graph') document.getElementById('search')?.focus();
    else { location.hash = '#/'; setTimeout(() => document.getElementById('search')?.focus()); }
  }
  if (event.key === 'j' || event.key === 'k') {
    const links = [...document.querySelectorAll('#views tbody a')];
    const at = links.indexOf(document.activeElement);
    const next = links[event.key === 'j' ? at + 1 : Math.max(0, at - 1)];
    if (next) { next.focus(); next.scrollIntoView({ block: 'nearest' }); }
  }
});
redraw();
live();
