// Logging in and out. The person consents at the issuer; this page sees an address or a code, and
// asks bearerd what has come of it.

const logInDialog = find('#log-in-dialog');
/** What the dialog does when its form is sent; `null` if there is nothing to send. */
let proceed = null;
/** Ends what the dialog waits for. */
let waiting = new AbortController();

/** Only the web can be opened from here. */
function webAddress(text) {
  try {
    const address = new URL(text);
    return ['https:', 'http:'].includes(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

/** Begins to log in a credential, or one of its subjects, and shows the way. */
async function logIn(name, subject) {
  if (!isSignedIn() && !(await signIn())) return null;
  const { by, asks } = credentials.get(name).actions.log_in;
  const login = { name, subject, title: subject ? `${subject} at ${name}` : name };
  if (by === 'otp') {
    showStep(login, whomSteps(asks), 'Send the password', () => begin(login, { [find('#whom-kind').value]: find('#whom').value.trim() }));
    logInDialog.showModal();
  } else {
    await begin(login, {});
    logInDialog.showModal();
  }
  return null;
}

/** Asks bearerd to begin, and shows what the person does next. */
async function begin(login, hints) {
  const body = login.subject ? { ...hints, subject: login.subject } : hints;
  const begun = await change('POST', `${pathOf(login.name)}/authorize`, body);
  if (!begun) return;
  login.state = begun.state;
  if (begun.url) {
    showStep(login, browserSteps(begun), null, null);
    find('#came-back')?.addEventListener('input', () => { find('#log-in-submit').hidden = false; });
    proceed = () => handBack(login);
    say(find('#log-in-submit'), 'Use this address');
  } else if (begun.user_code) {
    showStep(login, deviceSteps(begun), null, null);
  } else {
    showStep(login, passwordSteps(begun), 'Log in', () => handPassword(login));
    return;
  }
  follow(login).catch(() => {});
}

function showStep(login, steps, button, does) {
  say(find('#log-in-title'), `Log in ${login.title}`);
  tell(find('#log-in-error'), '');
  find('#log-in-steps').replaceChildren(...steps);
  find('#log-in-submit').hidden = !button;
  say(find('#log-in-submit'), button ?? '');
  proceed = does;
  find('[autofocus]', logInDialog)?.focus();
}

/** Waits for what comes of a login that the person ends elsewhere. */
async function follow(login) {
  waiting = new AbortController();
  const { signal } = waiting;
  const path = `${pathOf(login.name)}/authorize?${new URLSearchParams({ state: login.state, wait: true })}`;
  let told;
  do {
    told = await ask(path, { signal });
    if (signal.aborted) return;
  } while (told.outcome === 'pending');
  if (told.outcome === 'ok') done(login);
  else tell(find('#log-in-error'), sentence(told.detail));
}

function done(login) {
  announce(`${login.title}: logged in`);
  logInDialog.close();
  if (login.subject && subjectsDialog.open) loadSubjects(null).catch(failSubjects);
}

function opener(address) {
  const attributes = { class: 'button primary', href: address.href, target: '_blank', rel: 'noopener noreferrer', autofocus: true };
  return element('p', {}, element('a', attributes, `Go to ${address.host}`));
}

function field(id, label, attributes) {
  const input = { id, autocomplete: 'off', spellcheck: 'false', required: true, ...attributes };
  return [element('label', { for: id }, label), element('input', input)];
}

function browserSteps(begun) {
  const address = webAddress(begun.url);
  if (!address) return [element('p', {}, 'The issuer gave no address that can be opened.')];
  return [
    element('p', {}, `You consent at ${address.host}, in a new tab. When that is done, this page shows it.`),
    opener(address),
    element('details', {}, element('summary', {}, 'The last page did not open?'),
      element('p', {}, 'Then it led to an address that this browser cannot reach. Paste that address here.'),
      ...field('came-back', 'Address of the last page', { type: 'url', required: false })),
  ];
}

function deviceSteps(begun) {
  const address = webAddress(begun.verification_uri_complete ?? begun.verification_uri);
  return [
    element('p', {}, 'On any device, open the address and enter the code. When that is done, this page shows it.'),
    element('p', { class: 'user-code', role: 'img', 'aria-label': `Code ${[...begun.user_code].join(' ')}` }, begun.user_code),
    element('p', { class: 'quiet' }, begun.verification_uri),
    ...(address ? [opener(address)] : []),
  ];
}

function whomSteps(asks) {
  const kinds = asks.map((kind) => element('option', { value: kind }, kind));
  return [
    element('p', {}, 'The issuer sends a one-time password to the person.'),
    element('label', { for: 'whom-kind' }, 'Known by'),
    element('select', { id: 'whom-kind' }, ...kinds),
    ...field('whom', 'Which is', { autofocus: true }),
  ];
}

function passwordSteps(begun) {
  const sent = [begun.masked_mobile, begun.masked_email].filter(Boolean);
  return [
    element('p', {}, sent.length ? `A one-time password was sent to ${listed(sent)}.` : 'A one-time password was sent.'),
    ...field('otp', 'One-time password', { inputmode: 'numeric', autocomplete: 'one-time-code', autofocus: true }),
  ];
}

async function handPassword(login) {
  const body = { otp: find('#otp').value.trim(), state: login.state };
  if (login.subject) body.subject = login.subject;
  if (await change('POST', `${pathOf(login.name)}/callback`, body)) done(login);
}

async function handBack(login) {
  const back = webAddress(find('#came-back').value.trim())?.searchParams;
  if (!back?.get('state')) throw new Error('Paste the whole address of the last page: it ends in code and state');
  const body = Object.fromEntries(back);
  if (login.subject) body.subject = login.subject;
  if (await change('POST', `${pathOf(login.name)}/callback`, body)) done(login);
}

find('form', logInDialog).addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = find('#log-in-submit');
  if (!proceed || button.disabled) return;
  button.disabled = true;
  tell(find('#log-in-error'), '');
  try {
    await proceed();
  } catch (refused) {
    tell(find('#log-in-error'), sentence(refused.message));
  } finally {
    button.disabled = false;
  }
});
logInDialog.addEventListener('close', () => {
  proceed = null;
  waiting.abort();
});

const logOutDialog = find('#log-out-dialog');
let confirmed = () => {};

/** Logs a credential, or one of its subjects, out, once the person has confirmed it. */
async function logOut(name, subject) {
  say(find('#log-out-title'), `Log out ${subject ?? name}?`);
  say(find('#log-out-text'), 'Its tokens are forgotten, and requests that need them fail until somebody logs in again.');
  logOutDialog.showModal();
  const sure = await new Promise((resolve) => { confirmed = resolve; });
  if (!sure) return null;
  const path = subject ? `${pathOf(name)}/subjects/${encodeURIComponent(subject)}` : `${pathOf(name)}/logout`;
  const answer = await change(subject ? 'DELETE' : 'POST', path);
  return answer && 'Logged out.';
}

find('form', logOutDialog).addEventListener('submit', () => confirmed(true));
logOutDialog.addEventListener('close', () => confirmed(false));

