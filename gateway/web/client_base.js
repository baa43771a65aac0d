/**
 * client_base - what every part of the client rests on: its error, ids, listeners.
 *
 * @module
 */

/** @typedef {import('./client_types.js').Events} Events */

/** In place of a `retry_after_ms` that was not said. */
export const RETRY_DEFAULT_MS = 1000;

/** Errors after which the same request may succeed. */
const PASSING_ERRORS = new Set(['unavailable', 'rate_limited', 'timeout', 'disconnected']);

/** A refusal by the server, or by the client in its place (`timeout`, `disconnected`, `too_many`,
 * `closed`). */
export class ChatmeshError extends Error {
    /**
     * @param {string} code
     * @param {string} [message]
     * @param {number} [retryAfterMs]
     */
    constructor(code, message, retryAfterMs) {
        super(message ?? code);
        this.name = 'ChatmeshError';
        this.code = code;
        this.retryAfterMs = retryAfterMs;
    }

    /** @param {any} frame */
    static of(frame) {
        return new ChatmeshError(String(frame.code), frame.message, frame.retry_after_ms);
    }
}

/** @param {any} error @returns {error is ChatmeshError} */
export const isPassing = (error) =>
    error instanceof ChatmeshError && PASSING_ERRORS.has(error.code);

/** Also of what is thrown without being one. @param {unknown} thrown @returns {Error} */
export const errorOf = (thrown) => (thrown instanceof Error ? thrown : new Error(String(thrown)));

/** When to try again after a passing error. @param {ChatmeshError} error */
export const retryInMs = (error) => error.retryAfterMs ?? RETRY_DEFAULT_MS;

/** For what lasts: the time of day may be set back, or far ahead, while one waits. */
export const nowMs = () => performance.now();

/** Waits that end early with the connection: what waits looks then what has become of it. */
export class Pauses {
    /** @type {Set<() => void>} */
    #ends = new Set();
    #isOnline;

    /** @param {() => boolean} isOnline */
    constructor(isOnline) {
        this.#isOnline = isOnline;
    }

    /** @param {number} ms @returns {Promise<void>} */
    of(ms) {
        if (!this.#isOnline()) return Promise.resolve();
        return new Promise((resolve) => {
            const end = () => {
                clearTimeout(timer);
                this.#ends.delete(end);
                resolve();
            };
            const timer = setTimeout(end, ms);
            this.#ends.add(end);
        });
    }

    end() {
        for (const end of [...this.#ends]) end();
    }
}

/**
 * A fresh id for a send. Not crypto.randomUUID: browsers offer that on https and localhost only.
 */
export function newCid() {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Hear of what becomes of the page, where there is one; the returned function ends it.
 * @param {'online' | 'offline' | 'pagehide' | 'visibilitychange'} event @param {() => void} listener */
export function onPage(event, listener) {
    const isPage = typeof globalThis.window !== 'undefined';
    if (!isPage || typeof globalThis.addEventListener !== 'function') return () => {};
    globalThis.addEventListener(event, listener);
    return () => globalThis.removeEventListener(event, listener);
}

/** @typedef {{listener: (value: any) => unknown}} Subscription The same listener may be in two. */

/** Who listens to what. A listener that throws, or one whose promise rejects, keeps neither the
 * others nor the protocol from going on: it is reported as `error`. */
export class Listeners {
    /** @type {Map<string, Set<Subscription>>} */
    #sets = new Map();

    /** @template {keyof Events} K @param {K} event
     * @param {(value: Events[K]) => unknown} listener */
    add(event, listener) {
        if (typeof listener !== 'function')
            throw new TypeError(`ChatmeshClient: the listener of ${event} is not a function`);
        const set = this.#sets.get(event) ?? new Set();
        this.#sets.set(event, set);
        const subscription = { listener };
        set.add(subscription);
        return () => void set.delete(subscription);
    }

    /** @template {keyof Events} K @param {K} event @param {Events[K]} value */
    tell(event, value) {
        const set = this.#sets.get(event);
        // What nobody listens to must not get lost.
        if (event === 'error' && !set?.size) console.error(value);
        for (const subscription of [...(set ?? [])])
            // One before it may have ended it.
            if (set?.has(subscription)) this.#call(event, subscription, value);
    }

    /** @param {keyof Events} event @param {Subscription} subscription @param {any} value */
    #call(event, { listener }, value) {
        const report = (/** @type {any} */ thrown) => {
            const error = errorOf(thrown);
            if (event === 'error') console.error(error); // Else it would be told of itself.
            else this.tell('error', error);
        };
        try {
            const result = /** @type {any} */ (listener(value));
            if (typeof result?.then === 'function') result.then(undefined, report);
        } catch (thrown) {
            report(thrown);
        }
    }
}
