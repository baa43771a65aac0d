// chat_view - the chat page's pieces as DOM nodes. What people wrote is set as textContent, never
// parsed.

import { bodyText } from './chat_model.js';

/** @typedef {import('./client.js').Entry} Entry */
/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./chat_model.js').Status} Status */

const SVG = 'http://www.w3.org/2000/svg';
const AVATAR_COLOURS = 8; // .avatar-0 … in chat.css.
const GROUPED_MS = 5 * 60 * 1000; // Messages of one person closer than this stand together.
const DAY_MS = 24 * 60 * 60 * 1000;

/** @type {Record<Status, [string, string]>} Icon and its name for those who do not see it. */
const STATUS_ICONS = {
    sending: ['clock', 'sending'],
    sent: ['sent', 'sent'],
    delivered: ['twice', 'delivered'],
    read: ['twice', 'read'],
    failed: ['failed', 'not sent'],
};

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} className @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, className, ...children) {
    const node = document.createElement(tag);
    node.className = className;
    node.append(...children); // Strings become text nodes.
    return node;
}

/** @param {string} name */
export function icon(name) {
    const svg = document.createElementNS(SVG, 'svg');
    const use = document.createElementNS(SVG, 'use');
    use.setAttribute('href', `#i-${name}`);
    svg.setAttribute('aria-hidden', 'true');
    svg.append(use);
    return svg;
}

/** Initials on a colour that is the name's own. @param {string} name @param {string} [size] */
export function avatar(name, size = '') {
    let hash = 0;
    for (const char of name) hash = (hash * 31 + /** @type {number} */ (char.codePointAt(0))) >>> 0;
    const words = name.split(/[\s._-]+/u).filter((word) => word !== '');
    const initials = words
        .slice(0, 2)
        .map((word) => [...word][0])
        .join('')
        .toUpperCase();
    const node = element('span', `avatar avatar-${hash % AVATAR_COLOURS} ${size}`, initials || '?');
    node.setAttribute('aria-hidden', 'true');
    return node;
}

/* Formats are made once: each construction costs the better part of a millisecond. */
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
function daysAgo(ts) {
    return Math.round(
        (new Date().setHours(0, 0, 0, 0) - new Date(ts).setHours(0, 0, 0, 0)) / DAY_MS,
    );
}

/** @param {number} ts */
function dayName(ts) {
    const days = daysAgo(ts);
    if (days === 0) return 'Today';
    return days === 1 ? 'Yesterday' : LONG_DAY.format(ts);
}

/** @param {number} ts */
function listTime(ts) {
    const days = daysAgo(ts);
    if (days === 0) return CLOCK.format(ts);
    if (days === 1) return 'Yesterday';
    return days < 7 ? WEEKDAY.format(ts) : SHORT_DAY.format(ts);
}

/** @param {Status} status */
export function tick(status) {
    const [name, label] = STATUS_ICONS[status];
    const node = element('span', `tick tick-${status}`, icon(name));
    node.setAttribute('role', 'img');
    node.setAttribute('aria-label', label);
    node.title = label;
    return node;
}

/** What happened, as a line in the middle; null where it is not worth one. @param {Entry} entry */
export function eventText(entry) {
    const { from, user = '' } = entry;
    if (entry.type === 'info')
        return entry.title !== undefined ? `${from} named the group “${entry.title}”` : null;
    if (entry.type !== 'member') return null;
    switch (entry.change) {
        case 'joined':
            return from === user ? `${user} joined` : `${from} added ${user}`;
        case 'role':
            return `${from} made ${user} ${entry.role === 'member' ? 'a' : 'an'} ${entry.role}`;
        default:
            return from === user ? `${user} left` : `${from} removed ${user}`;
    }
}

/** @param {Conversation} conversation @param {string} me */
function preview(conversation, me) {
    const out = conversation.outgoing.at(-1);
    if (out !== undefined) return `You: ${out.text}`;
    const { last } = conversation;
    if (last === undefined)
        return conversation.kind === 'group'
            ? `${conversation.members} members`
            : 'No messages yet';
    const text = bodyText(last.body);
    if (last.from === me) return `You: ${text}`;
    return conversation.kind === 'group' ? `${last.from}: ${text}` : text;
}

/** A line of the conversation list.
 * @param {Conversation} conversation @param {string} me @param {boolean} isOpen */
export function conversationRow(conversation, me, isOpen) {
    const { name, unread } = conversation;
    const time = element(
        'time',
        'row-time',
        conversation.activity > 0 ? listTime(conversation.activity) : '',
    );
    const button = element(
        'button',
        'row',
        avatar(name),
        element('span', 'row-name', name),
        time,
        element('span', 'row-text', preview(conversation, me).slice(0, 200)),
    );
    if (unread > 0) {
        const badge = element('span', 'badge', unread > 99 ? '99+' : String(unread));
        badge.setAttribute('aria-label', `${unread} unread`);
        button.append(badge);
        button.classList.add('has-unread');
    }
    if (isOpen) button.setAttribute('aria-current', 'true');
    return element('li', '', button);
}

/**
 * One line of the open conversation: a message, or what happened.
 * @typedef {object} Line
 * @property {string} key
 * @property {number} ts
 * @property {string} from
 * @property {string} text
 * @property {boolean} isEvent
 * @property {Status} [status] Of our own messages.
 * @property {string} [refused]
 */

/** Does `line` continue what `before` began? @param {Line | undefined} before @param {Line} line */
function continues(before, line) {
    return (
        before !== undefined &&
        !before.isEvent &&
        !line.isEvent &&
        before.from === line.from &&
        line.ts - before.ts < GROUPED_MS &&
        daysAgo(before.ts) === daysAgo(line.ts)
    );
}

/**
 * @param {Line} line
 * @param {Line | undefined} before
 * @param {{me: string, isGroup: boolean}} context
 */
function messageNode(line, before, { me, isGroup }) {
    const isMine = line.from === me;
    const isContinued = continues(before, line);
    const time = element('time', '', CLOCK.format(line.ts));
    time.dateTime = new Date(line.ts).toISOString();
    const meta = element('span', 'meta', time);
    if (line.status !== undefined) meta.append(tick(line.status));
    const bubble = element('div', 'bubble', element('span', 'text', line.text), meta);
    if (isGroup && !isMine && !isContinued) bubble.prepend(element('span', 'sender', line.from));
    const node = element(
        'li',
        `message ${isMine ? 'mine' : 'theirs'} ${isContinued ? 'continued' : ''}`,
    );
    if (isGroup && !isMine)
        node.append(isContinued ? element('span', 'avatar-space') : avatar(line.from, 'small'));
    node.append(bubble);
    if (line.refused !== undefined)
        node.append(element('p', 'refused', `Not sent: ${line.refused}`));
    return node;
}

/**
 * Keeps the message list's nodes equal to the lines with few changes: most often the tail grows
 * or a tick changes, and then only that is touched.
 */
export class MessageList {
    /** @param {HTMLElement} list */
    constructor(list) {
        this.list = list;
        /** @type {Map<string, {node: HTMLElement, print: string}>} */
        this.nodes = new Map();
    }

    /** @param {Line[]} lines @param {{me: string, isGroup: boolean}} context */
    show(lines, context) {
        /** @type {Map<string, {node: HTMLElement, print: string}>} */
        const next = new Map();
        /** @type {Line | undefined} */
        let before;
        for (const line of lines) {
            if (before === undefined || daysAgo(before.ts) !== daysAgo(line.ts))
                this.#keep(next, `day ${daysAgo(line.ts)}`, '', () =>
                    element('li', 'day', element('span', '', dayName(line.ts))),
                );
            const { status, refused, ts, text } = line;
            const print = `${status} ${refused} ${continues(before, line)} ${ts} ${text}`;
            const previous = before;
            this.#keep(next, line.key, print, () =>
                line.isEvent
                    ? element('li', 'event', line.text)
                    : messageNode(line, previous, context),
            );
            before = line;
        }
        for (const [key, { node }] of this.nodes) if (next.get(key)?.node !== node) node.remove();
        this.nodes = next;
        this.#arrange([...next.values()].map(({ node }) => node));
    }

    /** @param {Map<string, {node: HTMLElement, print: string}>} next @param {string} key
     * @param {string} print What the node shows: another one means another node.
     * @param {() => HTMLElement} make */
    #keep(next, key, print, make) {
        const known = this.nodes.get(key);
        next.set(
            key,
            known !== undefined && known.print === print ? known : { node: make(), print },
        );
    }

    /** @param {HTMLElement[]} nodes */
    #arrange(nodes) {
        let at = this.list.firstChild;
        for (const node of nodes) {
            if (node === at) at = at.nextSibling;
            else this.list.insertBefore(node, at);
        }
    }

    clear() {
        this.nodes.clear();
        this.list.replaceChildren();
    }
}

/** A member's line in the dialog. @param {{user: string, role: string}} member @param {boolean}
 * isMe
 * @param {(() => void) | null} onRemove Null where it is not allowed. */
export function memberRow(member, isMe, onRemove) {
    const row = element(
        'li',
        'member',
        avatar(member.user, 'small'),
        element('span', 'member-name', isMe ? `${member.user} (you)` : member.user),
    );
    if (member.role !== 'member') row.append(element('span', 'role', member.role));
    if (onRemove !== null) {
        const button = element('button', 'icon-button', icon('close'));
        button.type = 'button';
        button.setAttribute('aria-label', `Remove ${member.user}`);
        button.addEventListener('click', onRemove);
        row.append(button);
    }
    return row;
}
