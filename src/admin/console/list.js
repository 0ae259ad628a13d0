// All credentials: which of them are shown, and the sentence that says how they are.

/** How many cards are shown at once; there may be thousands of credentials. */
const PAGE = 50;
const credentials = new Map();
const cards = new Map();
let filter = 'all';
let room = PAGE;

/** Takes what bearerd told of credentials; `whole` if these are all there are. */
function takeCredentials(told, whole) {
  if (whole) {
    const names = new Set(told.map((credential) => credential.name));
    for (const name of [...credentials.keys()].filter((name) => !names.has(name))) credentials.delete(name);
  }
  for (const credential of told) {
    const before = credentials.get(credential.name);
    credentials.set(credential.name, credential);
    if (before && before.state !== credential.state) announceChange(before, credential);
    const card = cards.get(credential.name);
    if (card) showCard(card, credential);
  }
  showList();
}

function announceChange(before, credential) {
  // Those two follow each other all day.
  const quiet = ['ready', 'renewing'];
  if (quiet.includes(before.state) && credential.state === 'renewing') return;
  const renewed = credential.generation > before.generation;
  announce(renewed ? `${credential.name}: renewed` : `${credential.name}: ${stateName(credential)}`);
}

/** Shows the cards that are looked for, in the order of their names. */
function showList() {
  const wanted = find('#search').value.trim().toLowerCase();
  const all = [...credentials.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const attention = all.filter(needsAttention);
  const matching = (filter === 'attention' ? attention : all)
    .filter((credential) => credential.name.toLowerCase().includes(wanted));
  const shown = matching.slice(0, room).map((credential) => credential.name);
  for (const name of [...cards.keys()].filter((name) => !shown.includes(name))) {
    cards.get(name).remove();
    cards.delete(name);
  }
  const list = find('#credentials');
  shown.forEach((name, place) => {
    if (!cards.has(name)) {
      cards.set(name, newCard(name));
      showCard(cards.get(name), credentials.get(name));
    }
    const card = cards.get(name);
    if (list.children[place] !== card) list.insertBefore(card, list.children[place] ?? null);
  });
  say(find('#count-all'), all.length.toLocaleString('en'));
  say(find('#count-attention'), attention.length.toLocaleString('en'));
  const none = find('#none');
  none.hidden = matching.length > 0;
  say(none, all.length === 0 ? 'No credential is configured.'
    : wanted ? `No credential has “${wanted}” in its name.` : 'None needs attention.');
  find('#more').parentElement.hidden = matching.length <= room;
  say(find('#more-text'), `${shown.length} of ${matching.length.toLocaleString('en')} are shown`);
  showHeadline(all, attention);
}

/** Whether requests get a token of it. */
const isFine = (credential) =>
  isForSubjects(credential) || ['ready', 'renewing', 'failing'].includes(credential.state);

function showHeadline(all, attention) {
  const waiting = all.filter((credential) => credential.state === 'pending' && !isForSubjects(credential)).length;
  const out = all.filter((credential) => credential.state === 'revoked').length;
  let headline = `${counted(all.length, 'credential')}, all ready`;
  if (all.length === 1) headline = 'The credential is ready';
  if (all.length === 0) headline = 'Nothing to keep';
  if (out) headline = `${counted(out, 'credential')} logged out`;
  if (waiting) headline = `${counted(waiting, 'credential')} on the way`;
  if (attention.length) headline = `${counted(attention.length, 'credential')} ${attention.length === 1 ? 'needs' : 'need'} attention`;
  say(find('#headline'), headline);
  document.body.dataset.mood = attention.length ? 'attention' : waiting ? 'calm' : 'fine';
  document.title = attention.length ? `(${attention.length}) bearerd` : 'bearerd';
  showIcon(attention.length);
}

function showIcon(attention) {
  const colour = attention ? '%23c2410c' : '%230f766e';
  const icon = `data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'><circle cx='12' cy='12' r='11' fill='${colour}'/><path d='M12 6v6l4 3' fill='none' stroke='white' stroke-width='2.4' stroke-linecap='round'/></svg>`;
  if (find('#icon').getAttribute('href') !== icon) find('#icon').setAttribute('href', icon);
}

/** Moves all countdowns on. */
function tickList() {
  for (const [name, card] of cards) tickCard(card, credentials.get(name));
  const at = now();
  const next = [...credentials.values()]
    .filter((credential) => credential.renew_at && !credential.last_error && Date.parse(credential.renew_at) > at)
    .reduce((first, other) => (!first || other.renew_at < first.renew_at ? other : first), null);
  const ready = [...credentials.values()].filter(isFine).length;
  const holding = `${ready} of ${credentials.size} ${credentials.size === 1 ? 'is' : 'are'} fit for use`;
  const renewal = next ? `next renewal: ${next.name} in ${lengthOf(Date.parse(next.renew_at) - at)}` : 'no renewal is planned';
  if (credentials.size) say(find('#subline'), `${holding} · ${renewal}`);
}

for (const button of document.querySelectorAll('[data-filter]')) {
  button.addEventListener('click', () => {
    filter = button.dataset.filter;
    room = PAGE;
    for (const other of document.querySelectorAll('[data-filter]')) {
      other.setAttribute('aria-pressed', String(other === button));
    }
    showList();
  });
}
find('#search').addEventListener('input', () => { room = PAGE; showList(); });
find('#more').addEventListener('click', () => {
  const first = room;
  room += PAGE;
  showList();
  find('#credentials').children[first]?.focus();
});
// A link along a chain leads to a card that may be filtered away.
find('#credentials').addEventListener('click', (event) => {
  const link = event.target.closest('a[href^="#credential-"]');
  if (!link) return;
  event.preventDefault();
  const name = link.textContent;
  if (!cards.has(name)) {
    filter = 'all';
    find('#search').value = name;
    showList();
  }
  const card = cards.get(name);
  card?.focus();
  card?.scrollIntoView({ block: 'center', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
});

