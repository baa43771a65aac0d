// chat_text - what people wrote and what happened, as text nodes, links and sentences.
//
// Nothing here or elsewhere on the page parses what people wrote as markup: strings become text
// nodes, and a link is made only of an address that the URL parser takes for http(s) or mailto.

/** @typedef {import('./client.js').Entry} Entry */

/** An address ends where a sentence would go on: without the full stop, with a pair of brackets. */
const LINK = /\b(?:https?:\/\/|www\.|mailto:)[^\s<>"'`]*[^\s<>"'`.,;:!?)\]}*_~]\)?/giu;

/** Text of a message body; the page writes {"text": …}, other clients may write what they like.
 * @param {any} body @returns {string} */
export function bodyText(body) {
    if (typeof body?.text === 'string') return body.text;
    return typeof body === 'string' ? body : JSON.stringify(body ?? null);
}

/** A message in one line, for lists, quotes and announcements. @param {Entry} entry */
export function excerpt(entry) {
    if (entry.deleted) return 'Message deleted';
    return bodyText(entry.body).replace(/\s+/gu, ' ').trim().slice(0, 200);
}

/** @param {string} found @returns {HTMLAnchorElement | null} Null where it is no address. */
function linkTo(found) {
    let url;
    try {
        url = new URL(/^www\./iu.test(found) ? `https://${found}` : found);
    } catch {
        return null;
    }
    if (!['http:', 'https:', 'mailto:'].includes(url.protocol)) return null;
    const link = document.createElement('a');
    link.href = url.href;
    link.textContent = found;
    link.target = '_blank';
    link.rel = 'noopener noreferrer nofollow';
    link.tabIndex = -1; // A stop of the Tab key only while its message has the focus.
    return link;
}

/** The text with its addresses as links. @param {string} text @returns {(string | Node)[]} */
export function linked(text) {
    const parts = [];
    let at = 0;
    for (const match of text.matchAll(LINK)) {
        // The closing bracket belongs to the address only where it opened there.
        const found =
            match[0].endsWith(')') && !match[0].includes('(') ? match[0].slice(0, -1) : match[0];
        const link = linkTo(found);
        if (link === null) continue;
        parts.push(text.slice(at, match.index), link);
        at = match.index + found.length;
    }
    parts.push(text.slice(at));
    return parts.filter((part) => part !== '');
}

const FOLD_CHARS = 2500;
const FOLD_LINES = 30;

/** Where a long text is cut off until somebody wants all of it; else its length. @param {string} text */
export function foldAt(text) {
    let end = text.length > FOLD_CHARS ? FOLD_CHARS : text.length;
    let line = -1;
    for (let n = 0; n < FOLD_LINES; n++) {
        line = text.indexOf('\n', line + 1);
        if (line < 0) break;
    }
    if (line >= 0) end = Math.min(end, line);
    // Not within a character.
    return end < text.length && /[\uD800-\uDBFF]/.test(text[end - 1]) ? end - 1 : end;
}

/** @param {string | Node} part @param {number} from @param {number} [to] */
function sliced(part, from, to) {
    if (typeof part === 'string') return part.slice(from, to);
    const node = part.cloneNode();
    node.textContent = String(part.textContent).slice(from, to);
    return node;
}

/** What linked() made, in two: an address that is cut becomes two links to the whole of it.
 * @param {(string | Node)[]} parts @param {number} end Of the text of the first.
 * @returns {[(string | Node)[], (string | Node)[]]} */
export function cut(parts, end) {
    /** @type {(string | Node)[]} */
    const first = [];
    /** @type {(string | Node)[]} */
    const rest = [];
    let room = end;
    for (const part of parts) {
        const { length } = typeof part === 'string' ? part : String(part.textContent);
        if (room > 0) first.push(room < length ? sliced(part, 0, room) : part);
        if (room < length) rest.push(room > 0 ? sliced(part, room) : part);
        room = Math.max(0, room - length);
    }
    return [first, rest];
}

/** Is it nothing but a few emojis? They are shown large. @param {string} text */
export function isEmojiOnly(text) {
    return /^(?:\p{Extended_Pictographic}(?:\uFE0F|\u200D|\p{Emoji_Modifier})*\s*){1,3}$/u.test(
        text,
    );
}

const NAME_BYTES_MAX = 128;

/** Why nobody can be called that; '' where that is possible. @param {string} name */
export function nameProblem(name) {
    const bytes = new TextEncoder().encode(name).length;
    if (bytes <= NAME_BYTES_MAX) return '';
    const start = [...name].slice(0, 20).join('');
    return `“${start}…” is too long for a name: ${bytes} bytes, of at most ${NAME_BYTES_MAX}.`;
}

/** @param {number} count @param {string} noun */
export const counted = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** "2 messages and 1 change", and whether that is one thing.
 * @param {number} messages @param {number} changes */
function unsent(messages, changes) {
    const parts = [];
    if (messages > 0) parts.push(counted(messages, 'message'));
    if (changes > 0) parts.push(counted(changes, 'change'));
    return { what: parts.join(' and '), isOne: messages + changes === 1 };
}

/** What waits for the connection, '' for nothing.
 * @param {number} messages @param {number} changes */
export function waitingText(messages, changes) {
    const { what, isOne } = unsent(messages, changes);
    return what && `${what} ${isOne ? 'waits' : 'wait'} to be sent.`;
}

/** What would be lost, or is. @param {number} messages @param {number} changes */
export function notSentText(messages, changes) {
    const { what, isOne } = unsent(messages, changes);
    return what && `${what} ${isOne ? 'was' : 'were'} not sent.`;
}

const NAMED_MAX = 3;

/** A sentence in parts: a name stands alone, for it may be written from the right.
 * @typedef {(string | {name: string})[]} Parts */

/** @param {TemplateStringsArray} words @param {...(string | Parts)} names @returns {Parts} */
const sentence = (words, ...names) =>
    words.flatMap((word, i) => {
        const name = names[i] ?? [];
        return [word, ...(typeof name === 'string' ? [{ name }] : name)];
    });

/** @param {Parts} parts */
export const partsText = (parts) =>
    parts.map((part) => (typeof part === 'string' ? part : part.name)).join('');

/** "bob, carol and 12 others". @param {string[]} users @returns {Parts} */
function listed(users) {
    const named = users.length > NAMED_MAX + 1 ? users.slice(0, NAMED_MAX) : users;
    const rest = users.length - named.length;
    /** @type {Parts} */
    const items = named.map((name) => ({ name }));
    if (rest > 0) items.push(`${rest} others`);
    return items.flatMap((item, i) => {
        if (i === 0) return [item];
        return [i === items.length - 1 ? ' and ' : ', ', item];
    });
}

/** Does somebody add somebody else? @param {Entry} entry */
export const isAdding = ({ change, from, user }) => change === 'joined' && from !== user;

const ROLE_WORDS = new Map([
    ['owner', 'an owner'],
    ['admin', 'an admin'],
    ['member', 'a member'],
]);

/** What happened, as a line in the middle; null where it is not worth one.
 * @param {Entry} entry @param {string[]} [added] All whom he added. @returns {Parts | null} */
export function eventParts(entry, added = [entry.user ?? '']) {
    const { from, user = '', title } = entry;
    if (entry.type === 'info' && title === null)
        return sentence`${from} took the group’s name away`;
    if (entry.type === 'info')
        return title != null ? sentence`${from} named the group “${title}”` : null;
    if (entry.type !== 'member') return null;
    switch (entry.change) {
        case 'joined':
            if (from !== user) return sentence`${from} added ${listed(added)}`;
            return entry.seq === 1 ? sentence`${user} created the group` : sentence`${user} joined`;
        case 'role':
            return sentence`${from} made ${user} ${[ROLE_WORDS.get(entry.role ?? '') ?? '']}`;
        default:
            return from === user ? sentence`${user} left` : sentence`${from} removed ${user}`;
    }
}

/* ---- Times. Formats are made once: each construction costs the better part of a millisecond. */

const DAY_MS = 24 * 60 * 60 * 1000;
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const SHORT_DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const LONG_DAY = new Intl.DateTimeFormat(undefined, {
    weekday: 'long',
    day: 'numeric',
    month: 'long',
    year: 'numeric',
});

/** Whole days from ts to today. @param {number} ts */
export function daysAgo(ts) {
    return Math.round(
        (new Date().setHours(0, 0, 0, 0) - new Date(ts).setHours(0, 0, 0, 0)) / DAY_MS,
    );
}

/** @param {number} ts */
export const clockTime = (ts) => CLOCK.format(ts);

/** "Friday, 14 March 2025, 14:02". @param {number} ts */
export const fullTime = (ts) => `${LONG_DAY.format(ts)}, ${CLOCK.format(ts)}`;

/** @param {number} ts */
export function dayName(ts) {
    const days = daysAgo(ts);
    if (days === 0) return 'Today';
    return days === 1 ? 'Yesterday' : LONG_DAY.format(ts);
}

/** @param {number} ts */
export function listTime(ts) {
    const days = daysAgo(ts);
    if (days === 0) return CLOCK.format(ts);
    if (days === 1) return 'Yesterday';
    return days < 7 ? WEEKDAY.format(ts) : SHORT_DAY.format(ts);
}

/** "today at 14:02". @param {number} ts */
export function momentName(ts) {
    const days = daysAgo(ts);
    if (days < 2) return `${days === 0 ? 'today' : 'yesterday'} at ${CLOCK.format(ts)}`;
    return `on ${SHORT_DAY.format(ts)} at ${CLOCK.format(ts)}`;
}

/** Who types, as words under a name; '' for nobody. @param {string[]} users @param {boolean} isGroup */
export function typingText(users, isGroup) {
    if (users.length === 0) return '';
    if (!isGroup) return 'typing…';
    if (users.length > 3) return `${users.length} people are typing…`;
    return `${partsText(listed(users))} ${users.length === 1 ? 'is' : 'are'} typing…`;
}
