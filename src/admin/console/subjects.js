// The subjects of a credential, page by page. The list holds names alone: to look at the state of one
// is asked for by its button, since that wakes it.

const SUBJECTS_PAGE = 20;
const subjectsDialog = find('#subjects-dialog');
let shownSubjects = { name: null, after: null, asked: 0 };

/** Shows the subjects of a credential. */
async function showSubjects(name) {
  shownSubjects = { name, after: null, asked: 0 };
  say(find('#subjects-title'), `Subjects of ${name}`);
  find('#subjects-search').value = '';
  find('#subjects-log-in').hidden = !credentials.get(name)?.actions.log_in;
  await loadSubjects(null);
  subjectsDialog.showModal();
  return null;
}

/** The text right before all that begin with `start`, in the order of the list (by code points). */
function justBefore(start) {
  const points = [...start];
  const last = points.pop()?.codePointAt(0);
  // No subject has a control character, so that nothing lies between.
  if (last === undefined || last <= 0x20) return points.join('');
  const before = last - 1 >= 0xd800 && last - 1 <= 0xdfff ? 0xd7ff : last - 1;
  return points.join('') + String.fromCodePoint(before, 0x10ffff);
}

async function loadSubjects(after) {
  const { name } = shownSubjects;
  const asked = (shownSubjects.asked += 1);
  const start = find('#subjects-search').value;
  const query = new URLSearchParams({ limit: SUBJECTS_PAGE + 1 });
  const from = after ?? (start && justBefore(start));
  if (from) query.set('after', from);
  const told = await ask(`${pathOf(name)}/subjects?${query}`);
  if (asked !== shownSubjects.asked) return;
  const found = told.subjects.map((subject) => subject.subject ?? subject).filter((subject) => subject.startsWith(start));
  const page = found.slice(0, SUBJECTS_PAGE);
  shownSubjects.after = page.at(-1) ?? null;
  find('#subjects').replaceChildren(...page.map(subjectRow));
  find('#subjects-next').disabled = found.length <= SUBJECTS_PAGE;
  find('#subjects-first').disabled = after === null;
  const none = start ? `No subject begins with “${start}”.` : 'No subject has logged in.';
  say(find('#subjects-none'), page.length ? '' : none);
}

function subjectRow(subject) {
  const { name } = shownSubjects;
  const told = element('span', { class: 'quiet', role: 'status' });
  const path = `${pathOf(name)}/subjects/${encodeURIComponent(subject)}`;
  const button = (text, does) => {
    const made = element('button', { type: 'button', 'aria-label': `${text} ${subject}` }, text);
    made.addEventListener('click', async () => {
      try {
        say(told, (await does()) ?? '');
      } catch (refused) {
        say(told, `${refused.message}.`);
      }
    });
    return made;
  };
  const look = async () => {
    const status = await ask(path);
    const ends = status.expires_at ? `, ends in ${lengthOf(Date.parse(status.expires_at) - now())}` : '';
    return `${stateName(status)}${ends}${status.last_error ? `: ${status.last_error.message}` : ''}`;
  };
  return element('li', {}, element('span', { class: 'subject' }, subject), told,
    button('State', look), button('Log out', () => logOut(name, subject)));
}

find('#subjects-search').addEventListener('input', () => loadSubjects(null).catch(failSubjects));
find('#subjects-next').addEventListener('click', () => loadSubjects(shownSubjects.after).catch(failSubjects));
find('#subjects-first').addEventListener('click', () => loadSubjects(null).catch(failSubjects));
find('#subjects-log-in').addEventListener('click', async () => {
  const subject = find('#subjects-search').value.trim();
  if (!subject) {
    say(find('#subjects-none'), 'Write the subject into the field above, then log it in.');
    find('#subjects-search').focus();
    return;
  }
  await logIn(shownSubjects.name, subject).catch(failSubjects);
});
find('form', subjectsDialog).addEventListener('submit', (event) => event.preventDefault());
function failSubjects(refused) {
  say(find('#subjects-none'), `${refused.message}.`);
}

