// chat_dialogs - new chat and new group, and what all the page's native <dialog>s have in common.

import { byId } from './chat_dom.js';
import { nameProblem } from './chat_text.js';

/** @typedef {import('./client.js').ChatmeshClient} ChatmeshClient */
/**
 * @typedef {{client: () => ChatmeshClient, openDirect: (name: string) => void, openConv: (conv:
 *   string) => void}} Ports
 */

/** "bob, carol" as names. @param {string} text */
export const names = (text) => [
    ...new Set(
        text
            .split(',')
            .map((name) => name.trim())
            .filter((name) => name !== ''),
    ),
];

/** @param {string[]} users */
export function checkNames(users) {
    const problem = users.map(nameProblem).find((text) => text !== '');
    if (problem !== undefined) throw new Error(problem);
}

/** A dialog whose form runs `act`. What that returns is done once the dialog is closed, for
 * closing gives the focus back to the button that opened it; null keeps the dialog open.
 * @param {HTMLDialogElement} dialog @param {() => Promise<(() => void) | null>} act */
export function wireDialog(dialog, act) {
    const form = /** @type {HTMLFormElement} */ (dialog.querySelector('form'));
    const error = /** @type {HTMLElement} */ (dialog.querySelector('.form-error'));
    wireClosing(dialog);
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

/** @param {HTMLDialogElement} dialog */
export function wireClosing(dialog) {
    dialog.querySelector('[data-close]')?.addEventListener('click', () => dialog.close());
    // A click on the dialog itself is one on its backdrop.
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
}

/**
 * Run, and tell what went wrong where the person looks.
 * @param {HTMLElement} error
 * @param {() => Promise<void>} act
 */
export async function attempt(error, act) {
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
    wireDialog(byId('direct-dialog'), async () => {
        const name = byId('direct-name').value.trim();
        if (name === '' || name === ports.client().user)
            throw new Error(name === '' ? 'A name is needed.' : 'That is you.');
        checkNames([name]);
        return () => ports.openDirect(name);
    });
    wireDialog(byId('group-dialog'), async () => {
        const title = byId('group-title').value.trim();
        const members = names(byId('group-names').value);
        checkNames(members);
        const { conv } = await ports.client().create({
            kind: 'group',
            title,
            members,
            history: byId('group-history').checked ? 'all' : 'joined',
        });
        return () => ports.openConv(conv);
    });
}
