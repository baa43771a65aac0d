/**
 * client_standing - what is asked for once and holds until it is taken back: open conversations,
 * watched users, one's own status. The server forgets it with the connection, so a new one begins
 * with asking again.
 *
 * @module
 */

import { ChatmeshError, isPassing, retryInMs } from './client_base.js';

/** @typedef {import('./client_types.js').OwnStatus} OwnStatus */
/** @typedef {import('./client_types.js').State} State */
/**
 * @typedef {object} Wish
 * @property {boolean} asked On this connection.
 * @property {{resolve: () => void, reject: (error: Error) => void}[]} waiters
 */

const USERS_MAX = 500; // In one request.

/** @param {string[]} users */
export function chunks(users) {
    const parts = [];
    for (let i = 0; i < users.length; i += USERS_MAX) parts.push(users.slice(i, i + USERS_MAX));
    return parts;
}

/** @returns {Wish} */
const wish = () => ({ asked: false, waiters: [] });

export class Standing {
    /** @type {Map<string, Wish>} */
    #opens = new Map();
    /** @type {Map<string, Wish>} */
    #watches = new Map();
    /** @type {{status: OwnStatus, wish: Wish} | null} */
    #status = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #timer;
    #isPumpDue = false;
    #ports;

    /** @param {{state: () => State, request: (type: string, fields: object) => Promise<any>,
     *   pause: (ms: number) => Promise<void>}} ports */
    constructor(ports) {
        this.#ports = ports;
    }

    #isOnline() {
        return this.#ports.state() === 'online';
    }

    /** @param {string} conv */
    open(conv) {
        return this.#want(this.#opens, [conv]);
    }

    /** @param {string} conv */
    async close(conv) {
        if (!this.forget(conv)) return;
        await this.#release('close', () => (this.#opens.has(conv) ? null : { conv }));
    }

    /** Not ours any more: there is nobody to tell. @param {string} conv */
    forget(conv) {
        return this.#unwant(this.#opens, [conv]).length > 0;
    }

    /** @param {string[]} users */
    watch(users) {
        return this.#want(this.#watches, users);
    }

    /** @param {string[]} users */
    async unwatch(users) {
        const watched = chunks(this.#unwant(this.#watches, users));
        const still = (/** @type {string[]} */ some) =>
            some.filter((user) => !this.#watches.has(user));
        await Promise.all(
            watched.map((some) =>
                this.#release('unwatch', () => {
                    const gone = still(some);
                    return gone.length > 0 ? { users: gone } : null;
                }),
            ),
        );
    }

    /** @param {OwnStatus} status @returns {Promise<void>} */
    setStatus(status) {
        // The newest one answers them all.
        const waiters = this.#status?.wish.waiters.splice(0) ?? [];
        const own = { status, wish: { asked: false, waiters } };
        this.#status = own;
        return this.#until([own.wish]);
    }

    /** @param {Map<string, Wish>} wishes @param {string[]} names @returns {Promise<void>} */
    #want(wishes, names) {
        for (const name of names) if (!wishes.has(name)) wishes.set(name, wish());
        // One that was granted is asked for again: with it comes how things are now.
        const wanted = [...new Set(names)].map((name) => /** @type {Wish} */ (wishes.get(name)));
        for (const one of wanted) if (one.waiters.length === 0) one.asked = false;
        return this.#until(wanted);
    }

    /** @param {Wish[]} wishes @returns {Promise<void>} */
    #until(wishes) {
        const granted = wishes.map(
            (one) =>
                /** @type {Promise<void>} */ (
                    new Promise((resolve, reject) => one.waiters.push({ resolve, reject }))
                ),
        );
        this.#pumpSoon();
        if (this.#ports.state() === 'closed') this.stop();
        const all = Promise.all(granted).then(() => {});
        all.catch(() => {}); // It stands: whoever does not wait for it need not hear of close().
        return all;
    }

    /**
     * Take it back from the server. With the connection it has ended anyway.
     * @param {string} type
     * @param {() => object | null} fields Null where it is wanted again.
     */
    async #release(type, fields) {
        for (let what = fields(); what !== null && this.#isOnline(); what = fields()) {
            try {
                await this.#ports.request(type, what);
                return;
            } catch (error) {
                if (!isPassing(error)) throw error;
                if (error.code === 'disconnected') return;
                await this.#ports.pause(retryInMs(error));
            }
        }
    }

    /** @param {Map<string, Wish>} wishes @param {string[]} names */
    #unwant(wishes, names) {
        return names.filter((name) => {
            settle(wishes.get(name));
            return wishes.delete(name);
        });
    }

    /** A hundred in one turn are one request. */
    #pumpSoon() {
        if (this.#isPumpDue) return;
        this.#isPumpDue = true;
        queueMicrotask(() => {
            this.#isPumpDue = false;
            this.pump();
        });
    }

    /** Ask for all that this connection was not asked for. */
    pump() {
        if (!this.#isOnline()) return;
        const own = this.#status;
        if (own !== null && !own.wish.asked)
            this.#ask('status', { status: own.status }, [own.wish], () => {
                if (this.#status === own) this.#status = null;
            });
        const unwatched = [...this.#watches].filter(([, { asked }]) => !asked);
        for (const users of chunks(unwatched.map(([user]) => user)))
            this.#ask('watch', { users }, this.#of(this.#watches, users), () =>
                this.#unwant(this.#watches, users),
            );
        for (const [conv, one] of this.#opens)
            if (!one.asked) this.#ask('open', { conv }, [one], () => this.forget(conv));
    }

    /** @param {Map<string, Wish>} wishes @param {string[]} names */
    #of(wishes, names) {
        return names.map((name) => /** @type {Wish} */ (wishes.get(name)));
    }

    /** @param {string} type @param {object} fields @param {Wish[]} wishes
     * @param {() => void} onRefused */
    #ask(type, fields, wishes, onRefused) {
        for (const one of wishes) one.asked = true;
        this.#ports.request(type, fields).then(
            () => wishes.forEach((one) => settle(one)),
            (error) => {
                if (error.code === 'disconnected' || error.code === 'closed') return;
                if (isPassing(error)) {
                    this.#askLater(wishes, retryInMs(error));
                } else {
                    wishes.forEach((one) => settle(one, error));
                    onRefused();
                }
            },
        );
    }

    /** @param {Wish[]} wishes @param {number} ms */
    #askLater(wishes, ms) {
        for (const one of wishes) one.asked = false;
        clearTimeout(this.#timer);
        if (this.#isOnline()) this.#timer = setTimeout(() => this.pump(), ms);
    }

    /** The connection is gone, and with it what it was asked for. */
    reset() {
        clearTimeout(this.#timer);
        for (const one of this.#all()) one.asked = false;
    }

    #all() {
        const own = this.#status !== null ? [this.#status.wish] : [];
        return [...own, ...this.#watches.values(), ...this.#opens.values()];
    }

    /** The client is closed: nobody waits any longer, but connect() asks for it all again. */
    stop() {
        this.reset();
        for (const one of this.#all())
            settle(one, new ChatmeshError('closed', 'the client was closed'));
    }
}

/** @param {Wish | undefined} wish @param {Error} [error] */
function settle(wish, error) {
    for (const { resolve, reject } of wish?.waiters.splice(0) ?? [])
        if (error === undefined) resolve();
        else reject(error);
}
