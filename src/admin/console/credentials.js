// One credential: its card.

/** What each state is called. */
const STATES = {
  pending: 'Pending',
  ready: 'Ready',
  renewing: 'Renewing',
  failing: 'Failing',
  expired: 'Expired',
  rejected: 'Rejected',
  login_required: 'Login required',
  revoked: 'Logged out',
};
/** How long what came of a button stays on the card, in milliseconds. */
const OUTCOME_STAYS = 20_000;
const TROUBLED = ['failing', 'expired', 'rejected', 'login_required'];
const CLASSES = { transient: 'Temporary', rejected: 'Refused by the issuer', ambiguous: 'Answer lost', refused: 'Refused by the upstream' };

/** Whether only its subjects have tokens: then it has nothing of its own to be missed. */
const isForSubjects = (credential) => Boolean(credential.by_subject) && credential.generation === 0;

const stateName = (credential) =>
  isForSubjects(credential) ? 'By subject' : STATES[credential.state] ?? credential.state;

/** Whether somebody should look at it. */
const needsAttention = (credential) =>
  credential.last_error !== null || (TROUBLED.includes(credential.state) && !isForSubjects(credential));

/** Where the card of a credential is on the page. */
const cardId = (name) => `credential-${encodeURIComponent(name)}`;
const pathOf = (name) => `/v1/credentials/${encodeURIComponent(name)}`;

/** A card that shows nothing yet. */
function newCard(name) {
  const card = document.importNode(find('#credential-template').content, true).firstElementChild;
  card.id = cardId(name);
  card.tabIndex = -1;
  const title = find('[data-is=name]', card);
  title.id = `${card.id}-title`;
  title.textContent = name;
  card.setAttribute('aria-labelledby', title.id);
  for (const button of card.querySelectorAll('[data-action]')) {
    button.setAttribute('aria-describedby', title.id);
    button.addEventListener('click', () => act(button, card, name));
  }
  return card;
}

/** Shows a credential on its card. What has not changed is not touched. */
function showCard(card, credential) {
  const part = (name) => find(`[data-is=${name}]`, card);
  const bySubject = isForSubjects(credential);
  card.dataset.state = bySubject ? 'by_subject' : credential.state;
  card.dataset.mood = needsAttention(credential) ? 'attention' : 'calm';
  say(part('state'), stateName(credential));
  find('use', card).setAttribute('href', `#icon-${bySubject ? 'login_required' : credential.state}`);
  const meta = [credential.flow];
  if (credential.generation > 0) meta.push(`generation ${credential.generation}`);
  if (credential.waits_for) meta.push(`waits for ${credential.waits_for}`);
  say(part('meta'), meta.join(' · '));
  showChain(part('chain'), credential);
  const error = credential.last_error;
  show(part('said'), JSON.stringify(error), () => error
    ? [element('strong', {}, `${CLASSES[error.class] ?? error.class}: `), ...prose(error.message), ' ',
       element('time', { datetime: error.at, title: fullTime(error.at) })]
    : []);
  const advice = bySubject && !error ? '' : credential.advice ?? '';
  tell(part('advice'), advice);
  find('.trouble', card).hidden = !error && !advice;
  show(part('warnings'), JSON.stringify(credential.warnings), () =>
    credential.warnings.map((warning) => element('li', {}, ...prose(warning))));
  const { renew, log_in, log_out } = credential.actions;
  find('[data-action=renew]', card).hidden = !renew || bySubject;
  find('[data-action=log-in]', card).hidden = !log_in || bySubject;
  find('[data-action=log-in]', card).classList.toggle('primary', !log_out);
  find('[data-action=log-out]', card).hidden = !log_out;
  const subjects = find('[data-action=subjects]', card);
  subjects.hidden = !credential.subjects && !credential.by_subject;
  say(subjects, counted(credential.subjects, 'subject'));
  tickCard(card, credential);
}

function showChain(place, credential) {
  const link = (name) => element('a', { href: `#${cardId(name)}` }, name);
  const links = (names) => names.flatMap((name, index) => index ? [', ', link(name)] : [link(name)]);
  const key = JSON.stringify([credential.uses, credential.used_by, credential.routes]);
  show(place, key, () => {
    const parts = [];
    if (credential.uses.length) parts.push(element('span', {}, 'made from ', ...links(credential.uses)));
    if (credential.used_by.length) parts.push(element('span', {}, 'used by ', ...links(credential.used_by)));
    const routes = credential.routes;
    if (routes.length) {
      const shown = routes.length > 4 ? [...routes.slice(0, 3), `${routes.length - 3} more`] : routes;
      parts.push(element('span', {}, `injected on ${listed(shown)}`));
    }
    return parts;
  });
}

/** Moves the countdowns of a card on. */
function tickCard(card, credential) {
  const part = (name) => find(`[data-is=${name}]`, card);
  const [obtained, renews, ends] =
    [credential.obtained_at, credential.renew_at, credential.expires_at].map((time) => time && Date.parse(time));
  const at = now();
  const retries = credential.last_error !== null || credential.generation === 0;
  if (credential.running) {
    say(part('renews-word'), credential.generation ? 'renewing' : 'obtaining');
    say(part('renews'), 'now');
  } else if (renews) {
    say(part('renews-word'), retries ? 'tries again' : 'renews');
    say(part('renews'), renews > at ? `in ${lengthOf(renews - at)}` : 'now');
  } else {
    say(part('renews-word'), '');
    say(part('renews'), '');
  }
  part('renews').title = fullTime(credential.renew_at);
  say(part('ends-word'), !ends ? '' : ends > at ? 'ends' : 'ended');
  say(part('ends'), ends ? (ends > at ? `in ${lengthOf(ends - at)}` : ago(credential.expires_at)) : endless(credential));
  part('ends').title = fullTime(credential.expires_at);
  const track = find('.track', card);
  const lasts = obtained && ends && credential.state !== 'revoked';
  find('.elapsed', track).hidden = find('.tick', track).hidden = !lasts;
  if (lasts) {
    const elapsed = find('.elapsed', track);
    const along = (time) => `${Math.min(100, Math.max(0, ((time - obtained) / (ends - obtained)) * 100))}%`;
    // A new token begins at once, and does not run backwards.
    elapsed.style.transition = parseFloat(along(at)) < parseFloat(elapsed.style.width) ? 'none' : '';
    elapsed.style.width = along(at);
    find('.tick', track).hidden = !renews;
    find('.tick', track).style.left = along(renews ?? obtained);
  }
  const when = find('.said time', card);
  if (when) say(when, ago(credential.last_error.at));
}

function endless(credential) {
  if (isForSubjects(credential)) return 'each subject has a token of its own';
  if (credential.state === 'revoked') return 'no token';
  return credential.generation > 0 ? 'does not end by itself' : 'no token yet';
}

/** Does what a button of a card says, and tells what came of it. */
async function act(button, card, name) {
  if (button.ariaDisabled) return;
  const action = button.dataset.action;
  const outcome = find('[data-is=outcome]', card);
  const told = { 'log-in': () => logIn(name), 'log-out': () => logOut(name), subjects: () => showSubjects(name), renew: () => renew(name, outcome) };
  card.setAttribute('aria-busy', 'true');
  button.setAttribute('aria-disabled', 'true');
  try {
    const came = (await told[action]()) ?? '';
    // What was done is seen at once, not with the next event.
    if (came) take(await ask('/v1/overview'), true, 1);
    tell(outcome, came);
    setTimeout(() => outcome.textContent === came && tell(outcome, ''), OUTCOME_STAYS);
  } catch (refused) {
    tell(outcome, sentence(refused.message));
  } finally {
    card.removeAttribute('aria-busy');
    button.removeAttribute('aria-disabled');
  }
}

async function renew(name, outcome) {
  tell(outcome, '');
  const answer = await change('POST', `${pathOf(name)}/refresh?wait=true`);
  const texts = {
    ok: 'Renewed.',
    transient: 'Not renewed: see the error. It is tried again by itself.',
    rejected: 'Not renewed: the issuer refused the input.',
    ambiguous: 'The answer was lost on the way.',
  };
  return answer && (texts[answer.outcome] ?? 'Asked to renew.');
}

