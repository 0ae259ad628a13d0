// Time by the clock of bearerd's machine: a countdown must not go by a browser that is wrong.

let ahead = 0;

/** Takes the time from an answer of bearerd. */
function setClock(now) {
  ahead = Date.parse(now) - Date.now();
}

/** Milliseconds since 1970, by bearerd's clock. */
const now = () => Date.now() + ahead;

const UNITS = [['d', 86_400], ['h', 3_600], ['min', 60], ['s', 1]];

/** A length of time in its two largest units: `3 d 4 h`, `12 min 05 s`, `8 s`. */
function lengthOf(milliseconds) {
  let seconds = Math.max(0, Math.round(milliseconds / 1000));
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  if (first === -1) return '0 s';
  const [unit, size] = UNITS[first];
  const whole = `${Math.floor(seconds / size)} ${unit}`;
  if (first === UNITS.length - 1) return whole;
  seconds %= size;
  const [nextUnit, nextSize] = UNITS[first + 1];
  const next = Math.floor(seconds / nextSize);
  return `${whole} ${first === UNITS.length - 2 ? String(next).padStart(2, '0') : next} ${nextUnit}`;
}

/** A length of time in words of its largest unit, for what is past: `3 min ago`. */
function ago(time) {
  const seconds = Math.max(0, (now() - Date.parse(time)) / 1000);
  const unit = UNITS.find(([, size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[1])} ${unit[0]} ago` : 'just now';
}

/** The day and time of this browser's zone, for a title. */
const fullTime = (time) => (time ? new Date(time).toLocaleString() : '');

