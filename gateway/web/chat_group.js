// chat_group - dialogs about the conversation in view: a group's title, members and their roles,
// and who has got and read a message.

import { attempt, checkNames, names, wireClosing, wireDialog } from './chat_dialogs.js';
import { avatar, byId, element, iconButton, isolated, Keyed, written } from './chat_dom.js';
import { ask } from './chat_menu.js';
import { ROSTER_PAGE } from './chat_model.js';
import { counted, momentName } from './chat_text.js';

/** @typedef {import('./client.js').ChatmeshClient} ChatmeshClient */
/** @typedef {import('./client.js').Member} Member */
/** @typedef {import('./chat_model.js').Conversation} Conversation */
/** @typedef {import('./chat_people.js').People} People */
/**
 * @typedef {object} Ports
 * @property {() => ChatmeshClient} client
 * @property {() => Conversation | null} current
 * @property {People} people
 * @property {(conversation: Conversation) => Promise<void>} loadRoster
 */

const ROLES = /** @type {const} */ (['owner', 'admin', 'member']);

/** The group in view. */
export class GroupDialog {
    /** @param {Ports} ports */
    constructor(ports) {
        this.ports = ports;
        this.dialog = /** @type {HTMLDialogElement} */ (byId('members-dialog'));
        this.error = /** @type {HTMLElement} */ (this.dialog.querySelector('.form-error'));
        this.rows = new Keyed(byId('members'));
        this.leaving = ''; // By our own wish.
        this.title = ''; // As it was put into its field.
        byId('show-members').addEventListener('click', () => this.show());
        byId('leave').addEventListener('click', () => void this.#leave());
        byId('more-members').addEventListener('click', () => this.#change(() => this.#more()));
        byId('edit-title').addEventListener('change', () => this.#rename());
        byId('edit-history').addEventListener('change', () =>
            this.#change(() =>
                this.#client.info(this.#conv, { history: byId('edit-history').value }),
            ),
        );
        wireDialog(this.dialog, async () => {
            const users = names(byId('add-names').value);
            checkNames(users);
            if (users.length > 0) await this.#client.add(this.#conv, users);
            byId('add-names').value = '';
            await this.#load();
            return null;
        });
    }

    get #client() {
        return this.ports.client();
    }

    get #conv() {
        return this.ports.current()?.conv ?? '';
    }

    show() {
        const conversation = this.ports.current();
        if (conversation === null) return;
        this.rows.clear();
        conversation.rosterWanted = ROSTER_PAGE;
        this.#showTitle();
        byId('edit-history').value = ''; // The protocol lets one set it, and does not tell it.
        this.draw();
        this.dialog.showModal();
        this.dialog.scrollTop = 0; // What has the focus is at its end.
        void this.#change(async () => {});
    }

    /** Somebody changed the group: show it as it is now. */
    refresh() {
        if (!this.dialog.open) return;
        if (byId('edit-title').value === this.title) this.#showTitle(); // Else it is being edited.
        void this.#change(async () => {});
    }

    #showTitle() {
        this.title = this.ports.current()?.title ?? '';
        byId('edit-title').value = this.title;
    }

    /** An empty one takes the title away. */
    #rename() {
        const title = byId('edit-title').value.trim();
        const isOther = title !== this.ports.current()?.title;
        this.title = byId('edit-title').value;
        if (isOther)
            void this.#change(() => this.#client.info(this.#conv, { title: title || null }));
    }

    async #leave() {
        const conversation = this.ports.current();
        if (conversation?.conv == null) return;
        const { conv } = conversation;
        if (!(await ask(`Leave “${conversation.name}”?`, 'Leave'))) return;
        this.leaving = conv;
        await attempt(this.error, async () => {
            await this.#client.leave(conv);
            this.dialog.close();
        });
    }

    /** Do it, tell if it failed, and show what is so now. @param {() => Promise<any>} act */
    #change(act) {
        return attempt(this.error, async () => {
            try {
                await act();
            } finally {
                if (this.dialog.open) await this.#load();
            }
        });
    }

    async #load() {
        const conversation = this.ports.current();
        if (conversation === null) return;
        await this.ports.loadRoster(conversation);
        this.draw();
    }

    /** The members after those shown as well. */
    async #more() {
        const conversation = this.ports.current();
        if (conversation !== null) conversation.rosterWanted += ROSTER_PAGE;
    }

    draw() {
        const conversation = this.ports.current();
        if (conversation === null) return;
        const me = this.#client.user ?? '';
        const { role } = conversation;
        const isManager = role !== 'member';
        byId('edit-title').readOnly = !isManager;
        byId('manage').hidden = !isManager;
        byId('members-count').textContent = counted(conversation.members, 'member');
        byId('more-members').hidden = conversation.roster.length >= conversation.members;
        this.rows.show(
            conversation.roster.map((member) => {
                const status = this.ports.people.statusOf(member.user);
                const note = member.user === me ? '' : this.ports.people.textOf(member.user);
                return {
                    key: member.user,
                    print: [member.role, role, status, note].join(' '),
                    make: () => this.#row(member, role, member.user === me, note),
                };
            }),
        );
    }

    /** @param {Member} member @param {Member['role']} myRole @param {boolean} isMe
     * @param {string} note */
    #row(member, myRole, isMe, note) {
        const { user } = member;
        const row = element(
            'li',
            'member',
            avatar(user, 'small', this.ports.people.statusOf(user)),
            element(
                'span',
                'member-text',
                written('span', 'member-name', isolated(user), isMe ? ' (you)' : ''),
                element('span', 'member-note', note),
            ),
        );
        if (myRole === 'owner' && !isMe) row.append(this.#roleSelect(member));
        else if (member.role !== 'member') row.append(element('span', 'role', member.role));
        const mayRemove = myRole === 'owner' || (myRole === 'admin' && member.role !== 'owner');
        if (mayRemove && !isMe) {
            const button = iconButton('close', `Remove ${user}`);
            button.addEventListener('click', () => void this.#remove(user));
            row.append(button);
        }
        return row;
    }

    /** @param {string} user */
    async #remove(user) {
        if (await ask(`Remove ${user} from the group?`, 'Remove'))
            void this.#change(() => this.#client.remove(this.#conv, [user]));
    }

    /** @param {Member} member */
    #roleSelect({ user, role }) {
        const select = element('select', 'role-select');
        select.setAttribute('aria-label', `Role of ${user}`);
        for (const name of ROLES) select.append(new Option(name, name, false, name === role));
        select.addEventListener('change', () => {
            const chosen = /** @type {Member['role']} */ (select.value);
            void this.#change(() => this.#client.role(this.#conv, user, chosen));
        });
        return select;
    }
}

/** Who has got a message, and who has read it. */
export class ReadersDialog {
    constructor() {
        this.dialog = /** @type {HTMLDialogElement} */ (byId('readers-dialog'));
        wireClosing(this.dialog);
    }

    /** @param {import('./client.js').ReceiptList} receipts */
    show({ delivered, read, total, more }) {
        const readers = new Set(read.map(({ user }) => user));
        const others = delivered.filter(({ user }) => !readers.has(user));
        byId('readers-heading').textContent = `Read by ${read.length} of ${total}`;
        const list = byId('readers');
        list.replaceChildren();
        for (const [heading, people] of /** @type {const} */ ([
            ['Read', read],
            ['Delivered', others],
        ])) {
            if (people.length === 0) continue;
            list.append(element('li', 'menu-heading', heading));
            for (const { user, ts } of people)
                list.append(
                    element(
                        'li',
                        'member',
                        avatar(user, 'small'),
                        element('span', 'member-text', written('span', 'member-name', user)),
                        element('time', 'member-note', ts > 0 ? momentName(ts) : ''),
                    ),
                );
        }
        if (list.childElementCount === 0)
            list.append(element('li', 'empty', 'Nobody has got it yet.'));
        if (more) list.append(element('li', 'menu-heading', 'Not everybody was looked at.'));
        this.dialog.showModal();
    }
}
