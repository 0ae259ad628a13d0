// The subjects of a credential, page by page.

const SUBJECTS_PAGE = 20;
const subjectsDialog = find('#subjects-dialog');
let shownSubjects = { name: null, next: null, asked: 0 };

/** Shows the subjects of a credential. */
async function showSubjects(name) {
  shownSubjects = { name, next: null, asked: 0 };
  say(find('#subjects-title'), `Subjects of ${name}`);
  find('#subjects-search').value = '';
  find('#subjects-log-in').hidden = !credentials.get(name).actions.log_in || access === 'off';
  if (await loadSubjects(null)) subjectsDialog.showModal();
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

/** Shows those behind `after`. False if they are not shown, since nobody signed in. */
async function loadSubjects(after) {
  const asked = (shownSubjects.asked += 1);
  const start = find('#subjects-search').value;
  const query = new URLSearchParams({ limit: SUBJECTS_PAGE });
  const from = after ?? (start && justBefore(start));
  if (from) query.set('after', from);
  // Who has tokens is told to those alone who may change something.
  const told = await change('GET', `${pathOf(shownSubjects.name)}/subjects?${query}`);
  if (!told) return false;
  // What was typed meanwhile is asked for by itself.
  if (asked !== shownSubjects.asked) return true;
  const page = told.subjects.filter((subject) => subject.subject.startsWith(start));
  shownSubjects.next = page.length === told.subjects.length ? told.next : null;
  find('#subjects').replaceChildren(...page.map(subjectRow));
  find('#subjects-next').disabled = !shownSubjects.next;
  find('#subjects-first').disabled = after === null;
  const none = start ? `No subject begins with “${start}”.` : 'No subject has logged in.';
  tell(find('#subjects-none'), page.length ? '' : none);
  return true;
}

function subjectRow(status) {
  const { subject, expires_at: end, last_error: error } = status;
  const told = [stateName(status)];
  if (end && Date.parse(end) > now()) told.push(`ends in ${lengthOf(Date.parse(end) - now())}`);
  if (error) told.push(error.message);
  const button = element('button', { type: 'button', hidden: access === 'off', 'aria-label': `Log out ${subject}` }, 'Log out');
  button.addEventListener('click', async () => {
    try {
      if (!(await logOut(shownSubjects.name, subject))) return;
      announce(`${subject}: logged out`);
      await loadSubjects(null);
      find('#subjects-search').focus();
    } catch (refused) {
      failSubjects(refused);
    }
  });
  return element('li', {}, element('span', { class: 'subject' }, subject),
    element('span', { class: 'quiet' }, told.join(' · ')), button);
}

function failSubjects(refused) {
  tell(find('#subjects-none'), sentence(refused.message));
}

find('#subjects-search').addEventListener('input', () => loadSubjects(null).catch(failSubjects));
find('#subjects-next').addEventListener('click', () => loadSubjects(shownSubjects.next).catch(failSubjects));
find('#subjects-first').addEventListener('click', () => loadSubjects(null).catch(failSubjects));
find('#subjects-log-in').addEventListener('click', async () => {
  const subject = find('#subjects-search').value.trim();
  if (!subject) {
    tell(find('#subjects-none'), 'Write the new subject into the field above.');
    find('#subjects-search').focus();
    return;
  }
  await logIn(shownSubjects.name, subject).catch(failSubjects);
});
find('form', subjectsDialog).addEventListener('submit', (event) => event.preventDefault());

