// chat_list - the list of conversations: newest first, filtered by what is typed above it, walked
// with the arrow keys.

import {
    avatar,
    byId,
    element,
    isolated,
    Keyed,
    moveFocus,
    tick,
    toast,
    written,
} from './chat_dom.js';
import { counted, excerpt, listTime, nameProblem, typingText } from './chat_text.js';

/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./chat_model.js').ChatModel} ChatModel */
/** @typedef {import('./chat_people.js').People} People */
/**
 * @typedef {object} Ports
 * @property {(conversation: Conversation) => void} open
 * @property {(name: string) => void} startDirect
 * @property {(conv: string) => string[]} typists
 * @property {(conv: string, seq: number) => import('./chat_dom.js').Status} statusOf
 */

/** Rows drawn: beyond, one filters. */
const ROWS_MAX = 500;

export class ConversationList {
    /** @param {ChatModel} model @param {People} people @param {Ports} ports */
    constructor(model, people, ports) {
        this.model = model;
        this.people = people;
        this.ports = ports;
        this.rows = new Keyed(byId('conversations'));
        this.filter = byId('filter');
        this.filter.addEventListener('input', () => this.draw());
        byId('side').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) =>
            this.#onKey(event),
        );
        byId('start-direct').addEventListener('click', () => {
            const name = this.filter.value.trim();
            const problem = nameProblem(name);
            if (problem !== '') {
                toast(problem);
                return;
            }
            this.clearFilter();
            this.ports.startDirect(name);
        });
    }

    /** @param {Conversation} conversation */
    focus({ key }) {
        const row = this.rows.nodes.get(key)?.node.firstElementChild;
        /** @type {HTMLElement | null | undefined} */ (row)?.focus({ preventScroll: true });
    }

    /** What was shown is gone. */
    focusFirst() {
        const first = this.#buttons()[0] ?? this.filter;
        /** @type {HTMLElement} */ (first).focus({ preventScroll: true });
    }

    clearFilter() {
        this.filter.value = '';
        this.draw();
    }

    #buttons() {
        return [...byId('conversations').querySelectorAll('.row')];
    }

    /** @param {KeyboardEvent} event */
    #onKey(event) {
        const { target } = event;
        if (event.key === 'Escape' && this.filter.value !== '') {
            event.stopPropagation();
            this.clearFilter();
            this.filter.focus();
        } else if (target === this.filter) {
            if (event.key === 'ArrowDown' || event.key === 'Enter') {
                event.preventDefault();
                const first = this.#buttons()[0] ?? byId('start-direct');
                if (first.hidden || first.disabled) return;
                if (event.key === 'Enter') first.click();
                else first.focus();
            }
        } else if (/** @type {HTMLElement} */ (target).classList.contains('row')) {
            if (event.key === 'ArrowUp' && target === this.#buttons()[0]) this.filter.focus();
            else moveFocus(event, this.#buttons());
        }
    }

    draw() {
        const wanted = this.filter.value.trim().toLowerCase();
        const shown = this.model
            .sorted()
            .filter(({ name }) => name.toLowerCase().includes(wanted))
            .slice(0, ROWS_MAX);
        // The list is one stop of the Tab key: at the open conversation, else at the first.
        const stop = shown.includes(/** @type {any} */ (this.model.open))
            ? this.model.open
            : shown[0];
        this.rows.show(
            shown.map((conversation) => this.#item(conversation, conversation === stop)),
        );
        const name = this.filter.value.trim();
        const start = byId('start-direct');
        start.hidden = wanted === '' || shown.some((one) => one.name.toLowerCase() === wanted);
        start.disabled = name === this.model.me;
        if (start.disabled) start.textContent = 'That is you.';
        else start.replaceChildren('Start a chat with “', isolated(name), '”');
    }

    /** @param {Conversation} conversation @param {boolean} isStop */
    #item(conversation, isStop) {
        const { name, unread, kind, conv, peer } = conversation;
        const isOpen = conversation === this.model.open;
        const status = kind === 'direct' ? this.people.statusOf(peer) : null;
        const time = conversation.activity > 0 ? listTime(conversation.activity) : '';
        const typing = typingText(conv === null ? [] : this.ports.typists(conv), kind === 'group');
        const preview = this.#preview(conversation);
        const print = [name, unread, isOpen, isStop, status, time, typing, ...preview].join('\n');
        const make = () => {
            const text = written('span', 'row-text');
            if (typing !== '') text.append(element('span', 'row-typing', typing));
            else if (!isOpen && conversation.draft !== '')
                text.append(element('bdi', 'row-draft', 'Draft: '), conversation.draft);
            else text.append(...this.#previewNodes(preview));
            const button = element(
                'button',
                'row',
                avatar(name, '', status),
                written('span', 'row-name', name),
                element('time', 'row-time', time),
                element('span', 'row-second', text),
            );
            if (status !== null && status !== 'offline')
                button.append(element('span', 'hidden-text', this.people.textOf(peer)));
            if (unread > 0) {
                const badge = element('span', 'badge', unread > 999 ? '999+' : String(unread));
                badge.setAttribute('aria-label', `${unread} unread`);
                text.after(badge);
                button.classList.add('has-unread');
            }
            button.tabIndex = isStop ? 0 : -1;
            if (isOpen) button.setAttribute('aria-current', 'true');
            button.addEventListener('click', () => this.ports.open(conversation));
            return element('li', '', button);
        };
        return { key: conversation.key, print, make };
    }

    /** Tick, who, what. @param {Conversation} conversation @returns {[string, string, string]} */
    #preview(conversation) {
        const out = conversation.outgoing.at(-1);
        if (!(conversation === this.model.open) && conversation.draft !== '')
            return ['draft', '', conversation.draft];
        if (out !== undefined) {
            const status = out.seq !== undefined ? 'sent' : 'sending';
            return [out.refused !== undefined ? 'failed' : status, '', out.text];
        }
        const { last, conv } = conversation;
        if (last === undefined || conv === null) {
            const isGroup = conversation.kind === 'group';
            return ['', '', isGroup ? counted(conversation.members, 'member') : 'No messages yet'];
        }
        const isMine = last.from === this.model.me;
        const who = conversation.kind === 'group' && !isMine ? last.from : '';
        const status = isMine && !last.deleted ? this.ports.statusOf(conv, last.seq) : '';
        return [status, who, excerpt(last)];
    }

    /** @param {[string, string, string]} preview */
    #previewNodes([status, who, text]) {
        const nodes = [who === '' ? '' : isolated(`${who}: `), text];
        return status === '' ? nodes : [tick(/** @type {any} */ (status)), ...nodes];
    }
}
