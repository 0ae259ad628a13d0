// Staying up to date: by server-sent events, or by asking every few seconds where those do not come.

const POLL = 5_000;
const TRY_EVENTS_AGAIN = 30_000;
let stream = null;
let poll = null;
let isLost = false;
let lastPoll = null;

function setLink(state, text) {
  find('#link').dataset.link = state;
  say(find('#link'), text);
}

function take(told, whole, seconds) {
  setClock(told.now);
  say(find('#version'), told.version);
  takeCredentials(told.credentials, whole);
  takeRoutes(told.routes, whole, seconds);
  tick();
  if (told.draining) setLink('wait', 'draining');
}

/** Listens to events; while they do not come, asks. */
function listen() {
  stream?.close();
  stream = new EventSource('/v1/events');
  stream.addEventListener('snapshot', (event) => {
    // Another process knows nothing of sessions.
    if (isLost) learnAccess().catch(() => {});
    isLost = false;
    heard('live');
    take(JSON.parse(event.data), true, 1);
  });
  stream.addEventListener('change', (event) => {
    heard('live');
    take(JSON.parse(event.data), false, 1);
  });
  stream.addEventListener('error', () => {
    // The browser tries again by itself, unless it was refused.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, TRY_EVENTS_AGAIN);
    isLost = true;
    askRegularly();
  });
}

function heard(text) {
  clearInterval(poll);
  poll = null;
  lastPoll = null;
  setLink('live', text);
}

function askRegularly() {
  if (poll) return;
  poll = setInterval(askOnce, POLL);
  askOnce();
}

async function askOnce() {
  try {
    const told = await ask('/v1/overview');
    if (!poll) return;
    const since = lastPoll ? Math.round((Date.now() - lastPoll) / 1000) : 1;
    lastPoll = Date.now();
    setLink('poll', 'asking every 5 s');
    take(told, true, Math.max(1, Math.min(MINUTE, since)));
  } catch (refused) {
    const text = refused.status ? refused.message : 'bearerd cannot be reached';
    if (poll) setLink('lost', text);
  }
}

function tick() {
  tickList();
  tickRoutes();
}

setInterval(tick, 1000);
// A page that nobody sees costs nothing; it is up to date as soon as somebody looks.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    stream?.close();
    clearInterval(poll);
    poll = null;
  } else {
    listen();
  }
});
learnAccess().catch(() => {});
listen();
