// Changes: by a session of two halves. The cookie is the browser's; the other half is kept here, for
// this origin and this tab alone, and goes along in a header.

const PROOF = 'x-bearerd-session';
const KEPT_AS = 'bearerd-session';
let access = 'off';
let sessionEnds = 0;
let sessionTimer;

const isSignedIn = () => access === 'open' || Date.now() < sessionEnds;

/** What went wrong, in words, with the status that said so. */
class Refused extends Error {
  constructor(status, document) {
    super(document?.detail || document?.title || `bearerd answered ${status}`);
    this.status = status;
    this.code = document?.code;
  }
}

/** Asks bearerd; the answer is the document, if there is one. */
async function ask(path, { method = 'GET', headers = {}, body, signal } = {}) {
  const proof = sessionStorage.getItem(KEPT_AS);
  if (proof) headers[PROOF] = proof;
  if (body !== undefined) headers['content-type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal });
  } catch {
    throw new Refused(0, { detail: 'bearerd cannot be reached' });
  }
  const text = await answer.text();
  let document = null;
  try {
    document = text ? JSON.parse(text) : null;
  } catch { /* It is no document. */ }
  if (!answer.ok) throw new Refused(answer.status, document);
  return document;
}

/** Asks what only those may ask who may change something, and lets the person sign in before if it needs
    that. `null` if they did not. */
async function change(method, path, body) {
  if (!isSignedIn() && !(await signIn())) return null;
  try {
    return (await ask(path, { method, body })) ?? {};
  } catch (refused) {
    if (refused.status !== 401) throw refused;
    setSession(null, 0);
    if (!(await signIn())) return null;
    return (await ask(path, { method, body })) ?? {};
  }
}

/** Asks what a change takes here, and whether this tab may make one. */
async function learnAccess() {
  const said = await ask('/v1/session');
  access = said.access;
  setSession(sessionStorage.getItem(KEPT_AS), said.expires_in ?? 0);
}

function setSession(proof, seconds) {
  clearTimeout(sessionTimer);
  sessionEnds = Date.now() + seconds * 1000;
  if (proof && seconds > 0) {
    sessionStorage.setItem(KEPT_AS, proof);
    sessionTimer = setTimeout(() => setSession(null, 0), seconds * 1000);
  } else {
    sessionStorage.removeItem(KEPT_AS);
  }
  const texts = {
    off: 'Reading only: no admin token is configured',
    token: isSignedIn() ? 'Signed in' : 'Reading only',
    open: 'Unix socket',
  };
  say(find('#access-text'), texts[access]);
  find('#access').hidden = false;
  find('#sign-in').hidden = access !== 'token' || isSignedIn();
  find('#sign-out').hidden = access !== 'token' || !isSignedIn();
  document.body.dataset.access = access;
}

const signInDialog = find('#sign-in-dialog');
let signedIn = () => {};

/** Shows the form for the token; true once a session is open. */
function signIn() {
  find('#token').value = '';
  say(find('#sign-in-error'), '');
  signInDialog.showModal();
  return new Promise((resolve) => { signedIn = resolve; });
}

signInDialog.addEventListener('close', () => signedIn(isSignedIn()));
find('form', signInDialog).addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = find('[type=submit]', signInDialog);
  button.disabled = true;
  try {
    const headers = { authorization: `Bearer ${find('#token').value.trim()}` };
    const opened = await ask('/v1/session', { method: 'POST', headers });
    setSession(opened.proof, opened.expires_in);
    announce('Signed in');
    signInDialog.close();
  } catch (refused) {
    say(find('#sign-in-error'), refused.status === 401 ? 'That is not the admin token.' : sentence(refused.message));
    find('#token').select();
  } finally {
    find('#token').focus();
    button.disabled = false;
  }
});
find('#sign-in').addEventListener('click', signIn);
find('#sign-out').addEventListener('click', async () => {
  await ask('/v1/session', { method: 'DELETE' }).catch(() => {});
  setSession(null, 0);
  announce('Signed out');
  find('#sign-in').focus();
});

