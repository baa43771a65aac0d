// chat_login - getting in, and being told why one is out. A cluster in development mode hands out
// tokens for a name; elsewhere the page is embedded by whoever knows its users.

import { byId } from './chat_dom.js';
import { nameProblem } from './chat_text.js';

/** Why the server does not want us back, and what a person can do about it. */
const FATAL = new Map([
    [
        4509,
        {
            title: 'Open in another tab',
            text: 'This chat was opened in a copy of this tab. Only one of the two is connected.',
            action: 'Use here',
        },
    ],
    [4503, { title: 'Logged out', text: 'The server ended this session.', action: 'Log in again' }],
    [
        4501,
        { title: 'Please log in again', text: 'Your login has expired.', action: 'Log in again' },
    ],
    [
        1009,
        {
            title: 'A message was too large',
            text: 'The server refused it and closed the connection.',
            action: 'Reconnect',
        },
    ],
]);
const FATAL_OTHER = {
    title: 'The connection was refused',
    text: 'The server and this page did not understand each other. Reloading may help.',
    action: 'Reload',
};

/** @param {string} user */
export async function fetchToken(user) {
    const response = await fetch('v1/dev/token', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ user }),
    });
    const answer = await response.json().catch(() => ({}));
    if (response.status === 404)
        throw new Error('This cluster is not in development mode, so it hands out no logins here.');
    if (!response.ok)
        throw new Error(answer.error?.message ?? `The server answered ${response.status}.`);
    return answer.token;
}

/** @param {(name: string, token: string) => void} start */
export function wireLogin(start) {
    byId('login-form').addEventListener('submit', async (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        const name = byId('login-name').value.trim();
        const problem = nameProblem(name);
        byId('login-error').textContent = problem;
        if (name === '' || problem !== '') return;
        try {
            start(name, await fetchToken(name));
        } catch (error) {
            byId('login-error').textContent =
                error instanceof TypeError
                    ? 'The server cannot be reached.'
                    : /** @type {Error} */ (error).message;
        }
    });
}

/** Nobody is logged in. */
export function showLogin() {
    document.body.dataset.screen = 'login';
    byId('login-error').textContent = '';
    byId('login-name').value = '';
    byId('login-name').focus();
}

/** Nothing else can be done until it is answered.
 * @param {number} code The close code.
 * @param {{connect: () => void, logOut: () => void, reload: () => void}} ways */
export function showFatal(code, { connect, logOut, reload }) {
    const { title, text, action } = FATAL.get(code) ?? FATAL_OTHER;
    byId('fatal-title').textContent = title;
    byId('fatal-text').textContent = text;
    byId('fatal-action').textContent = action;
    byId('app').inert = true;
    byId('fatal').hidden = false;
    byId('fatal-action').focus();
    byId('fatal-action').onclick = () => {
        if (action === 'Use here' || action === 'Reconnect') {
            hideFatal();
            connect();
        } else if (action === 'Reload') reload();
        else logOut();
    };
}

export function hideFatal() {
    byId('app').inert = false;
    byId('fatal').hidden = true;
}
