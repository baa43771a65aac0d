// chat_actions - what one may do with a message: its menu, and what that asks for.

import { byId, orToast } from './chat_dom.js';
import { ReadersDialog } from './chat_group.js';
import { ask, Menu } from './chat_menu.js';
import { bodyText } from './chat_text.js';

/** @typedef {import('./client.js').ChatmeshClient} ChatmeshClient */
/** @typedef {import('./chat_model.js').ChatModel} ChatModel */
/** @typedef {import('./chat_model.js').Shown} Shown */
/**
 * @typedef {object} Ports
 * @property {() => ChatmeshClient} client
 * @property {(message: Shown) => void} reply
 * @property {(message: Shown) => void} edit
 * @property {(seq: number) => void} jump
 */

export class MessageActions {
    /** @param {ChatModel} model @param {Ports} ports */
    constructor(model, ports) {
        this.model = model;
        this.ports = ports;
        this.menu = new Menu(byId('message-menu'));
        this.readers = new ReadersDialog();
    }

    /** @param {Shown} message */
    showReaders({ conv, seq }) {
        const receipts = this.ports.client().receipts(conv, seq);
        orToast(receipts.then((list) => this.readers.show(list)));
    }

    /** @param {Shown} message @param {string} emoji @param {boolean} on */
    react({ conv, seq }, emoji, on) {
        orToast(this.ports.client().react(conv, seq, emoji, on));
    }

    /** @param {Shown} message */
    async #delete({ conv, seq }) {
        if (await ask('Delete this message for everyone?', 'Delete'))
            orToast(this.ports.client().delete(conv, seq));
    }

    /** @param {Shown} message @param {HTMLElement} node
     * @param {import('./chat_menu.js').Box} [at] */
    open(message, node, at) {
        const { from, body, who, deleted, reply_to: replyTo } = message;
        if (deleted) return;
        const { me, open } = this.model;
        const isMine = from === me;
        const isManager = open?.kind === 'group' && open.role !== 'member';
        const mine = new Set(
            [...(who ?? [])].filter(([, users]) => users.has(me)).map(([emoji]) => emoji),
        );
        const rect = (node.querySelector('.bubble') ?? node).getBoundingClientRect();
        /** @type {(Node | import('./chat_menu.js').Choice)[]} */
        const parts = [
            this.menu.emojis(mine, (emoji, on) => this.react(message, emoji, on)),
            { label: 'Reply', icon: 'reply', act: () => this.ports.reply(message) },
            { label: 'Copy text', icon: 'copy', act: () => copy(bodyText(body)) },
        ];
        if (replyTo !== undefined)
            parts.push({
                label: 'Show what it answers',
                icon: 'up',
                act: () => this.ports.jump(replyTo),
            });
        if (isMine)
            parts.push(
                { label: 'Who has read it', icon: 'info', act: () => this.showReaders(message) },
                { label: 'Edit', icon: 'edit', act: () => this.ports.edit(message) },
            );
        if (isMine || isManager)
            parts.push({
                label: 'Delete',
                icon: 'gone',
                isDanger: true,
                act: () => void this.#delete(message),
            });
        this.menu.open(node, at ?? rect, parts, { alignEnd: isMine });
    }
}

/** @param {string} text */
export const copy = (text) => orToast(navigator.clipboard.writeText(text));
