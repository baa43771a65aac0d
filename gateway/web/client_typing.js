/**
 * client_typing - who types: what we say of ourselves, seldom, and what is said of the others, who
 * stop by themselves.
 *
 * @module
 */

import { nowMs } from './client_base.js';

const SAY_INTERVAL_MS = 3000;
const EXPIRES_MS = 5000;

export class Typing {
    /** When we last said that we type, per conversation. @type {Map<string, number>} */
    #saidAt = new Map();
    /** @type {Map<string, Map<string, ReturnType<typeof setTimeout>>>} */
    #others = new Map();
    #ports;

    /**
     * @param {{write: (frame: object) => boolean,
     *   tell: (typing: {conv: string, user: string, on: boolean}) => void}} ports
     */
    constructor(ports) {
        this.#ports = ports;
    }

    /** @param {string} conv @param {boolean} on */
    say(conv, on) {
        const silentMs = nowMs() - (this.#saidAt.get(conv) ?? -Infinity);
        if (on && silentMs < SAY_INTERVAL_MS) return;
        if (on) {
            if (this.#ports.write({ type: 'typing', conv, on })) this.#saidAt.set(conv, nowMs());
            return;
        }
        this.#saidAt.delete(conv);
        // Else it has expired, there as here.
        if (silentMs < EXPIRES_MS) this.#ports.write({ type: 'typing', conv, on });
    }

    /** @param {{conv: string, user: string, on: boolean}} frame */
    hear({ conv, user, on }) {
        const timers = this.#others.get(conv) ?? new Map();
        const known = timers.has(user);
        clearTimeout(timers.get(user));
        if (on) {
            timers.set(
                user,
                setTimeout(() => this.hear({ conv, user, on: false }), EXPIRES_MS),
            );
            this.#others.set(conv, timers);
        } else {
            timers.delete(user);
            if (timers.size === 0) this.#others.delete(conv);
        }
        if (known !== on) this.#ports.tell({ conv, user, on });
    }

    /** @param {string} conv */
    in(conv) {
        return [...(this.#others.get(conv)?.keys() ?? [])];
    }

    /** He sent what he typed, or it is no longer ours to know. @param {string} conv
     * @param {string} [user] Absent: all. */
    ended(conv, user) {
        for (const one of user === undefined ? this.in(conv) : [user])
            if (this.#others.get(conv)?.has(one)) this.hear({ conv, user: one, on: false });
    }

    /** The connection is gone: nobody would tell us that they stopped. */
    clear() {
        this.#saidAt.clear();
        for (const conv of [...this.#others.keys()]) this.ended(conv);
    }
}
