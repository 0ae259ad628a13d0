// Requests by route, and the last minute of each as a line.

const MINUTE = 60;
const ROUTES_PAGE = 50;
const routes = new Map();
let routesRoom = ROUTES_PAGE;

const total = (route) => route.requests.reduce((sum, count) => sum + count, 0);

/** Takes what bearerd told of routes; what came since the last telling is spread over `seconds`. */
function takeRoutes(told, whole, seconds) {
  const names = new Set(told.map((route) => route.name));
  if (whole) for (const name of [...routes.keys()]) if (!names.has(name)) routes.delete(name);
  const second = Math.floor(now() / 1000);
  for (const route of told) {
    const before = routes.get(route.name);
    const history = before?.history ?? new Map();
    // Another process has begun to count anew.
    const grown = before ? Math.max(0, total(route) - total(before)) : 0;
    for (let past = 0; grown > 0 && past < seconds; past += 1) {
      history.set(second - past, (history.get(second - past) ?? 0) + grown / seconds);
    }
    routes.set(route.name, { ...route, history, row: before?.row ?? newRow() });
  }
  showRoutes();
}

function showRoutes() {
  const all = [...routes.values()];
  const body = find('#routes');
  find('#no-routes').hidden = all.length > 0;
  find('table').hidden = all.length === 0;
  find('#more-routes').parentElement.hidden = all.length <= routesRoom;
  const rows = all.slice(0, routesRoom).map((route) => {
    showRow(route.row, route);
    return route.row;
  });
  if (rows.length !== body.children.length || rows.some((row, place) => body.children[place] !== row)) {
    body.replaceChildren(...rows);
  }
}

function newRow() {
  const line = drawing('svg', { class: 'spark', viewBox: `0 0 ${MINUTE} 20`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    drawing('path', { class: 'area' }), drawing('path', { class: 'line' }));
  return element('tr', {},
    element('th', { scope: 'row' }, element('span', { class: 'route' }), element('span', { class: 'match' })),
    element('td', { 'data-label': 'Credential', class: 'credential' }),
    element('td', { 'data-label': 'Last minute', class: 'minute' }, line, element('span', { class: 'rate' })),
    element('td', { 'data-label': 'Requests', class: 'number' }),
    element('td', { 'data-label': '4xx', class: 'number' }),
    element('td', { 'data-label': '5xx', class: 'number' }),
    element('td', { 'data-label': 'Errors by bearerd', class: 'errors' }));
}

function showRow(row, route) {
  const [name, credential, minute, requests, client, server, errors] = row.children;
  say(name.children[0], route.name);
  say(name.children[1], `${route.host ?? ''}${route.path}`);
  say(credential, route.credential);
  say(requests, total(route).toLocaleString('en'));
  say(client, route.requests[3].toLocaleString('en'));
  say(server, route.requests[4].toLocaleString('en'));
  client.classList.toggle('zero', route.requests[3] === 0);
  server.classList.toggle('zero', route.requests[4] === 0);
  const codes = Object.entries(route.errors).sort((a, b) => b[1] - a[1]);
  show(errors, JSON.stringify(codes), () => codes.length
    ? codes.map(([code, count]) => element('span', { class: 'code' }, `${code} ${count.toLocaleString('en')}`))
    : [element('span', { class: 'zero' }, 'none')]);
  showLine(minute, route);
}

function showLine(place, route) {
  const second = Math.floor(now() / 1000);
  for (const past of route.history.keys()) if (past <= second - MINUTE) route.history.delete(past);
  const counts = Array.from({ length: MINUTE }, (_, at) => route.history.get(second - MINUTE + 1 + at) ?? 0);
  const sum = counts.reduce((all, count) => all + count, 0);
  const height = Math.max(...counts, 1);
  const points = counts.map((count, at) => `${at},${(19 - (count / height) * 17).toFixed(1)}`).join(' ');
  place.firstElementChild.classList.toggle('still', sum === 0);
  const [area, line] = place.firstElementChild.children;
  area.setAttribute('d', `M0,20 L${points} L${MINUTE - 1},20 Z`);
  line.setAttribute('d', `M${points}`);
  say(place.lastElementChild, Math.round(sum).toLocaleString('en'));
}

/** Moves all lines on. */
function tickRoutes() {
  for (const route of [...routes.values()].slice(0, routesRoom)) showLine(route.row.children[2], route);
}

find('#more-routes').addEventListener('click', () => { routesRoom += ROUTES_PAGE; showRoutes(); });

