// chat_message - one line of the open conversation as DOM: a message with its quote, reactions and
// ticks, or what happened.

import { avatar, colourOf, element, icon, tick, written } from './chat_dom.js';
import {
    bodyText,
    clockTime,
    cut,
    daysAgo,
    excerpt,
    foldAt,
    fullTime,
    isEmojiOnly,
    linked,
} from './chat_text.js';

/** @typedef {import('./client.js').Entry} Entry */
/** @typedef {import('./client.js').Progress} Progress */
/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./chat_model.js').Shown} Shown */
/** @typedef {import('./chat_model.js').Outgoing} Outgoing */
/**
 * A message as it is shown.
 * @typedef {object} Line
 * @property {string} key
 * @property {number} seq 0 while it has none.
 * @property {number} ts
 * @property {string} from
 * @property {string} text
 * @property {boolean} [deleted]
 * @property {boolean} [edited]
 * @property {import('./chat_dom.js').Status} [status] Of our own messages.
 * @property {string} [readers] "Read by 3 of 5", under our newest one in a group.
 * @property {string} [refused]
 * @property {number} [replyTo]
 * @property {Quote} [quote] What it answers to.
 * @property {Reaction[]} reactions
 */
/**
 * Where it is shown. `whole`: the keys of long ones that are unfolded. It is no part of what a node
 * depends on: a node is unfolded in its place, so that what a search has found in it stays marked.
 * @typedef {{me: string, isGroup: boolean, whole: Set<string>}} Context
 */
/** @typedef {{from: string, text: string}} Quote */
/** @typedef {{emoji: string, users: string[], isMine: boolean}} Reaction */

const GROUPED_MS = 5 * 60 * 1000; // Messages of one person closer than this stand together.
const NAMES_MAX = 20;

/** @param {Shown} message @param {string} me @returns {Reaction[]} */
function reactionsOf(message, me) {
    if (message.deleted) return [];
    return [...(message.who ?? [])]
        .filter(([, users]) => users.size > 0)
        .map(([emoji, users]) => ({ emoji, users: [...users], isMine: users.has(me) }));
}

/** @param {Conversation} conversation @param {number | undefined} seq @returns {Quote | undefined} */
function quoteOf(conversation, seq) {
    if (seq === undefined) return undefined;
    const entry = conversation.find(seq) ?? conversation.quoted.get(seq);
    if (entry === undefined) return { from: '', text: '…' };
    return entry === null
        ? { from: '', text: 'A message that is gone' }
        : { from: entry.from, text: excerpt(entry) };
}

/** @param {Conversation} conversation @param {Shown} entry @param {string} me
 * @param {Line['status']} status @returns {Line} */
export function lineOfEntry(conversation, entry, me, status) {
    const { seq, ts, from, cid, deleted } = entry;
    return {
        // The cid is the key from the first moment on, so that the bubble stays the same node.
        key: from === me && cid !== undefined ? cid : `#${seq}`,
        seq,
        ts,
        from,
        text: deleted ? 'Message deleted' : bodyText(entry.body),
        deleted,
        edited: entry.edited !== undefined && !deleted,
        status: deleted ? undefined : status,
        replyTo: deleted ? undefined : entry.reply_to,
        quote: deleted ? undefined : quoteOf(conversation, entry.reply_to),
        reactions: reactionsOf(entry, me),
    };
}

/** @param {Conversation} conversation @param {Outgoing} out @param {string} me
 * @param {Line['status']} status @returns {Line} */
export function lineOfOutgoing(conversation, out, me, status) {
    const { cid, ts, text, refused, replyTo, seq = 0 } = out;
    const quote = quoteOf(conversation, replyTo);
    return { key: cid, seq, ts, from: me, text, status, refused, replyTo, quote, reactions: [] };
}

/** Does `line` continue what `before` began? @param {Line | null} before @param {Line} line */
function continues(before, line) {
    return (
        before !== null &&
        before.from === line.from &&
        line.ts - before.ts < GROUPED_MS &&
        daysAgo(before.ts) === daysAgo(line.ts)
    );
}

/** @param {Line} line */
function metaNode({ edited, ts, status }) {
    const time = element('time', '', clockTime(ts));
    time.dateTime = new Date(ts).toISOString();
    time.title = fullTime(ts);
    const meta = element('span', 'meta');
    meta.dir = 'ltr'; // Ours, and does not count for the side that the text begins on.
    if (edited) meta.append(element('span', 'edited', 'edited'));
    meta.append(time);
    if (status !== undefined) meta.append(tick(status));
    return meta;
}

/** @param {Quote} quote @param {number} seq @param {string} me */
function quoteNode({ from, text }, seq, me) {
    const node = element(
        'button',
        `quote colour-${colourOf(from)}`,
        written('strong', '', from === me ? 'You' : from),
        written('span', '', text),
    );
    node.type = 'button';
    node.tabIndex = -1; // The message's menu leads there too.
    node.dataset.seq = String(seq);
    node.setAttribute('aria-label', `In reply to ${from === me ? 'you' : from}: ${text}`);
    return node;
}

/** @param {Reaction[]} reactions */
function reactionsNode(reactions) {
    const node = element('div', 'reactions');
    for (const { emoji, users, isMine } of reactions) {
        const button = element(
            'button',
            'reaction',
            element('span', '', emoji),
            element('span', 'count', String(users.length)),
        );
        const names = users.slice(0, NAMES_MAX).join(', ');
        const more = users.length > NAMES_MAX ? ` and ${users.length - NAMES_MAX} more` : '';
        button.type = 'button';
        button.title = names + more;
        button.dataset.emoji = emoji;
        button.setAttribute('aria-pressed', String(isMine));
        button.setAttribute('aria-label', `${emoji} ${users.length}: ${names}${more}`);
        node.append(button);
    }
    return node;
}

/** @param {string} why */
function refusedNode(why) {
    const node = element('p', 'refused', `Not sent: ${why} `);
    for (const [what, label] of [
        ['retry', 'Try again'],
        ['copy', 'Copy'],
        ['discard', 'Discard'],
    ]) {
        const button = element('button', `link ${what}`, label);
        button.type = 'button';
        node.append(button, ' ');
    }
    return node;
}

/** The text, of a long one folded but for its beginning. The rest is there for the browser to search
 * in: it takes `hidden` away where it finds something. chat_messages.css does what follows from it.
 * @param {string} text @param {boolean} isWhole */
function textParts(text, isWhole) {
    const end = foldAt(text);
    if (end === text.length) return linked(text);
    const [beginning, rest] = cut(linked(text), end);
    const node = element('div', 'rest', ...rest);
    if (!isWhole) node.setAttribute('hidden', 'until-found');
    return [...beginning, element('span', 'cut'), node];
}

/** @param {Line} line @param {boolean} isContinued @param {Context} context */
function bubbleNode(line, isContinued, { me, isGroup, whole }) {
    const bubble = written('div', 'bubble');
    if (isGroup && line.from !== me && !isContinued) {
        const sender = written('span', `sender colour-${colourOf(line.from)}`, line.from);
        sender.setAttribute('aria-hidden', 'true'); // Each message begins with it, unseen.
        bubble.append(sender);
    }
    if (line.quote !== undefined)
        bubble.append(quoteNode(line.quote, /** @type {number} */ (line.replyTo), me));
    const text = element('span', 'text');
    if (line.deleted) text.append(icon('gone'), line.text);
    else text.append(...textParts(line.text, whole.has(line.key)));
    if (line.deleted) bubble.classList.add('deleted');
    else if (isEmojiOnly(line.text)) bubble.classList.add('emoji-only');
    bubble.append(text);
    if (text.querySelector('.rest') !== null) {
        const more = element('button', 'link', 'Show all');
        more.type = 'button';
        bubble.append(element('div', 'more', more));
    }
    bubble.append(metaNode(line));
    return bubble;
}

/** The node of a message, and what it depends on.
 * @param {Line} line @param {Line | null} before @param {Context} context
 * @returns {import('./chat_dom.js').Item} */
export function messageItem(line, before, context) {
    const isMine = line.from === context.me;
    const isContinued = continues(before, line);
    const make = () => {
        const content = element('div', 'content', bubbleNode(line, isContinued, context));
        if (line.reactions.length > 0) content.append(reactionsNode(line.reactions));
        if (line.refused !== undefined) content.append(refusedNode(line.refused));
        if (line.readers !== undefined) {
            const readers = element('button', 'readers', line.readers);
            readers.type = 'button';
            content.append(readers);
        }
        const side = isMine ? 'mine' : 'theirs';
        const node = element('li', `message ${side}`, content);
        if (isContinued) node.classList.add('continued');
        if (context.isGroup && !isMine)
            node.prepend(
                isContinued ? element('span', 'avatar-space') : avatar(line.from, 'small'),
            );
        // For those who hear it: who said it, though only the first of several shows the name.
        node.prepend(element('span', 'hidden-text', isMine ? 'You:' : `${line.from}:`));
        node.tabIndex = -1;
        node.dataset.seq = String(line.seq);
        node.dataset.key = line.key;
        return node;
    };
    return { key: line.key, print: JSON.stringify([isContinued, line]), make };
}
