// chat_dialogs - new chat, new group, members: three native <dialog>s over the client's requests.

import { memberRow } from './chat_view.js';

/** @typedef {import('./client.js').ChatmeshClient} ChatmeshClient */
/** @typedef {import('./chat_model.js').Conversation} Conversation */
/**
 * @typedef {{client: () => ChatmeshClient, openDirect: (name: string) => void, openConv: (conv:
 *   string) => void}} Ports
 */

const MEMBERS_PAGE = 500;

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/** "bob, carol" as names. @param {string} text */
const names = (text) => [
    ...new Set(
        text
            .split(',')
            .map((name) => name.trim())
            .filter((name) => name !== ''),
    ),
];

/** A dialog whose form runs `act`. What that returns is done once the dialog is closed, for
 * closing gives the focus back to the button that opened it; null keeps the dialog open.
 * @param {HTMLDialogElement} dialog @param {() => Promise<(() => void) | null>} act */
function wire(dialog, act) {
    const form = /** @type {HTMLFormElement} */ (dialog.querySelector('form'));
    const error = /** @type {HTMLElement} */ (dialog.querySelector('.form-error'));
    dialog.querySelector('[data-close]')?.addEventListener('click', () => dialog.close());
    // A click on the dialog itself is one on its backdrop.
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    dialog.addEventListener('close', () => {
        error.textContent = '';
    });
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        await attempt(error, async () => {
            const done = await act();
            if (done === null) return;
            form.reset();
            dialog.close();
            done();
        });
    });
}

/**
 * Run, and tell what went wrong where the person looks.
 * @param {HTMLElement} error
 * @param {() => Promise<void>} act
 */
async function attempt(error, act) {
    error.textContent = '';
    try {
        await act();
    } catch (reason) {
        error.textContent = /** @type {Error} */ (reason).message;
    }
}

/** @param {Ports} ports */
export function wireDialogs(ports) {
    byId('new-direct').addEventListener('click', () => byId('direct-dialog').showModal());
    byId('new-group').addEventListener('click', () => byId('group-dialog').showModal());
    wire(byId('direct-dialog'), async () => {
        const name = byId('direct-name').value.trim();
        if (name === '' || name === ports.client().user)
            throw new Error(name === '' ? 'A name is needed.' : 'That is you.');
        return () => ports.openDirect(name);
    });
    wire(byId('group-dialog'), async () => {
        const title = byId('group-title').value.trim();
        const { conv } = await ports
            .client()
            .create({ kind: 'group', title, members: names(byId('group-names').value) });
        return () => ports.openConv(conv);
    });
}

/** The members of the group in view. */
export class MembersDialog {
    /** @param {() => ChatmeshClient} client @param {() => Conversation | null} current */
    constructor(client, current) {
        this.client = client;
        this.current = current;
        this.dialog = /** @type {HTMLDialogElement} */ (byId('members-dialog'));
        this.error = /** @type {HTMLElement} */ (this.dialog.querySelector('.form-error'));
        byId('show-members').addEventListener('click', () => this.show());
        byId('leave').addEventListener('click', () =>
            this.#change(async (conv) => {
                await this.client().leave(conv);
                this.dialog.close();
            }),
        );
        wire(this.dialog, async () => {
            const users = names(byId('add-names').value);
            if (users.length > 0) await this.client().add(this.#conv(), users);
            byId('add-names').value = '';
            await this.#load();
            return null;
        });
    }

    #conv() {
        return this.current()?.conv ?? '';
    }

    show() {
        byId('members').replaceChildren();
        this.dialog.showModal();
        void this.#change(async () => {});
    }

    /** Somebody changed the group: show it as it is now. */
    refresh() {
        if (this.dialog.open) void this.#change(async () => {});
    }

    /** @param {(conv: string) => Promise<void>} act */
    #change(act) {
        return attempt(this.error, async () => {
            await act(this.#conv());
            if (this.dialog.open) await this.#load();
        });
    }

    async #load() {
        const { members } = await this.client().members(this.#conv(), { limit: MEMBERS_PAGE });
        const me = this.client().user;
        const mayRemove = members.some(({ user, role }) => user === me && role !== 'member');
        byId('members').replaceChildren(
            ...members.map((member) =>
                memberRow(
                    member,
                    member.user === me,
                    mayRemove && member.user !== me
                        ? () =>
                              void this.#change((conv) => this.client().remove(conv, [member.user]))
                        : null,
                ),
            ),
        );
    }
}
