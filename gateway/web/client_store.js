/**
 * client_store - what survives a reload: where each conversation was left, and the outbox.
 *
 * @module
 */

/** @typedef {import('./client_types.js').StoragePort} StoragePort */

const SAVE_DELAY_MS = 250;

export class Store {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #timer;
    #isOutboxDue = false;
    /** @type {Set<'resume' | 'outbox'>} */
    #due = new Set();
    #port;
    #prefix;
    #ports;

    /**
     * @param {StoragePort | undefined} port
     * @param {string} prefix
     * @param {{resume: () => {epoch?: string, points: Record<string, number>},
     *   outbox: () => object[] | null, error: (error: Error) => void}} ports What is to be saved.
     */
    constructor(port, prefix, ports) {
        this.#port = port;
        this.#prefix = prefix;
        this.#ports = ports;
    }

    /** @param {'resume' | 'outbox'} what */
    load(what) {
        try {
            return JSON.parse(this.#port?.getItem(`${this.#prefix}.${what}`) ?? 'null');
        } catch {
            return null; // Damaged or forbidden: the server's own record serves.
        }
    }

    /** In this turn, of which a thousand sends are one write. */
    saveOutbox() {
        if (this.#port === undefined || this.#isOutboxDue) return;
        this.#isOutboxDue = true;
        queueMicrotask(() => {
            this.#isOutboxDue = false;
            this.#save('outbox');
        });
    }

    /** @param {'resume' | 'outbox'} what What may be repeated after a reload, or be asked again. */
    saveSoon(what) {
        if (this.#port === undefined) return;
        this.#due.add(what);
        this.#timer ??= setTimeout(() => this.saveNow(), SAVE_DELAY_MS);
    }

    saveNow() {
        clearTimeout(this.#timer);
        this.#timer = undefined;
        for (const what of [...this.#due]) this.#save(what);
    }

    /** @param {'resume' | 'outbox'} what */
    #save(what) {
        this.#due.delete(what);
        const value = what === 'outbox' ? this.#ports.outbox() : this.#ports.resume();
        if (value !== null) this.#store(what, value);
    }

    /** @param {'resume' | 'outbox'} what @param {any} value */
    #store(what, value) {
        try {
            this.#port?.setItem(`${this.#prefix}.${what}`, JSON.stringify(value));
        } catch (error) {
            this.#ports.error(/** @type {Error} */ (error)); // Full: we go on without.
        }
    }
}
