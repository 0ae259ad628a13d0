// Logging in and out. The person consents at the issuer; this page sees an address or a code, and
// from then on the state of the credential.

const logInDialog = find('#log-in-dialog');
let pending = null;

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
  const credential = credentials.get(name);
  const begun = await change('POST', `${pathOf(name)}/authorize`, subject ? { subject } : {});
  if (!begun) return null;
  pending = { name, subject, state: begun.state, generation: credential?.generation ?? 0, kind: kindOf(begun) };
  say(find('#log-in-title'), `Log in ${subject ?? name}`);
  say(find('#log-in-error'), '');
  const steps = { device: deviceSteps, browser: browserSteps, password: passwordSteps }[pending.kind](begun);
  find('#log-in-steps').replaceChildren(...steps);
  find('#log-in-submit').hidden = pending.kind === 'device';
  say(find('#log-in-submit'), pending.kind === 'browser' ? 'Use this address' : 'Continue');
  logInDialog.showModal();
  return null;
}

const kindOf = (begun) => (begun.user_code ? 'device' : begun.url ? 'browser' : 'password');

function opener(text, address) {
  return element('a', { class: 'button primary', href: address.href, target: '_blank', rel: 'noopener noreferrer', autofocus: true }, text);
}

function browserSteps(begun) {
  const address = webAddress(begun.url);
  if (!address) return [element('p', {}, 'The issuer gave no address that can be opened.')];
  return [
    element('p', {}, `You consent at ${address.host}, in a new tab. When that is done, this page shows it.`),
    element('p', {}, opener(`Go to ${address.host}`, address)),
    element('details', {}, element('summary', {}, 'The last page did not open?'),
      element('p', {}, 'Then it led to an address that this machine cannot reach. Paste that address here.'),
      element('label', { for: 'came-back' }, 'Address of the last page'),
      element('input', { id: 'came-back', type: 'url', autocomplete: 'off', spellcheck: 'false' })),
  ];
}

function deviceSteps(begun) {
  const address = webAddress(begun.verification_uri_complete ?? begun.verification_uri);
  const steps = [
    element('p', {}, 'On any device, open the address and enter the code. When that is done, this page shows it.'),
    element('p', { class: 'user-code', tabindex: '0', 'aria-label': `Code ${[...begun.user_code].join(' ')}` }, begun.user_code),
  ];
  if (address) {
    steps.push(element('p', {}, opener(`Go to ${address.host}`, address)));
    steps.push(element('p', { class: 'quiet' }, begun.verification_uri));
  }
  return steps;
}

function passwordSteps(begun) {
  const sent = [begun.masked_mobile, begun.masked_email].filter(Boolean);
  return [
    element('p', {}, sent.length ? `A one-time password was sent to ${listed(sent)}.` : 'A one-time password was sent.'),
    element('label', { for: 'otp' }, 'One-time password'),
    element('input', { id: 'otp', inputmode: 'numeric', autocomplete: 'one-time-code', spellcheck: 'false', autofocus: true }),
  ];
}

find('form', logInDialog).addEventListener('submit', async (event) => {
  event.preventDefault();
  if (!pending) return;
  const { name, subject, kind, state } = pending;
  try {
    if (kind === 'password') {
      await change('POST', `${pathOf(name)}/callback`, { otp: find('#otp').value.trim(), state });
    } else {
      const back = webAddress(find('#came-back')?.value ?? '')?.searchParams;
      if (!back?.get('state')) throw new Error('Paste the whole address of the last page: it ends in code and state');
      await change('POST', `${pathOf(name)}/callback`, Object.fromEntries(back));
    }
    logInDialog.close();
    announce(`${subject ?? name}: logged in`);
  } catch (refused) {
    say(find('#log-in-error'), `${refused.message}.`);
  }
});
logInDialog.addEventListener('close', () => { pending = null; });

/** Closes the dialog once what it waits for has come. */
function noticeLogIn() {
  const credential = pending && credentials.get(pending.name);
  if (!credential || pending.subject) return;
  if (credential.generation > pending.generation && ['ready', 'renewing'].includes(credential.state)) {
    announce(`${pending.name}: logged in`);
    logInDialog.close();
  }
}

const logOutDialog = find('#log-out-dialog');
let confirmed = () => {};

/** Logs a credential, or one of its subjects, out, once the person has confirmed it. */
async function logOut(name, subject) {
  say(find('#log-out-title'), `Log out ${subject ?? name}?`);
  say(find('#log-out-text'), 'Its tokens are forgotten, and requests that need them fail until somebody logs in again.');
  logOutDialog.returnValue = '';
  logOutDialog.showModal();
  const sure = await new Promise((resolve) => { confirmed = resolve; });
  if (!sure) return null;
  const path = subject ? `${pathOf(name)}/subjects/${encodeURIComponent(subject)}` : `${pathOf(name)}/logout`;
  const answer = await change(subject ? 'DELETE' : 'POST', path);
  return answer && 'Logged out.';
}

find('form', logOutDialog).addEventListener('submit', () => confirmed(true));
logOutDialog.addEventListener('close', () => confirmed(false));

