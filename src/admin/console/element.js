// Elements, made by hand. A text is only ever set as text: the page's policy lets nothing else through.

const find = (selector, within = document) => within.querySelector(selector);

/** An element with attributes and children; attributes that are null or false are left out. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(attribute, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

/** An element of a drawing. */
function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** Sets a text where it differs, so that nothing is read out twice and no selection is lost. */
function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** Sets a text of bearerd's, in which `backticks` mark what is code. */
function tell(place, text) {
  show(place, text, () => prose(text));
}

/** Replaces children only where what they show differs. */
function show(place, key, children) {
  if (place.dataset.shown === key) return;
  place.dataset.shown = key;
  place.replaceChildren(...children());
}

const prose = (text) =>
  text.split('`').map((part, place) => (place % 2 ? element('code', {}, part) : part));

/** What bearerd says in the middle of a line, as a sentence of its own. */
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

/** `1 credential`, `2 credentials`. */
const counted = (number, word) => `${number.toLocaleString('en')} ${word}${number === 1 ? '' : 's'}`;

/** `a`, `a and b`, `a, b and c`. */
const listed = (words) =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;

/** Tells those who listen instead of looking. Several things of one moment are told together. */
const announcements = [];
function announce(text) {
  announcements.push(text);
  if (announcements.length > 1) return;
  setTimeout(() => {
    const told = announcements.length > 4 ? [`${announcements.length} credentials changed`] : announcements;
    find('#announcer').textContent = told.join('. ');
    announcements.length = 0;
  }, 300);
}

for (const button of document.querySelectorAll('[data-close]')) {
  button.addEventListener('click', () => button.closest('dialog').close());
}

