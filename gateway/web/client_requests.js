/**
 * client_requests - requests that wait for the reply with their id.
 *
 * @module
 */

import { ChatmeshError } from './client_base.js';

export class Requests {
    #nextId = 1;
    /** @type {Map<number, {resolve: (frame: any) => void, reject: (error: Error) => void,
     *   timer: ReturnType<typeof setTimeout>}>} */
    #waiting = new Map();

    /**
     * @param {(id: number) => boolean} write False where there is no connection. What it throws,
     *   the reply rejects with.
     * @param {number} timeoutMs
     * @param {() => void} [onTimeout]
     * @returns {Promise<any>} The reply.
     */
    begin(write, timeoutMs, onTimeout) {
        const id = this.#nextId++;
        return new Promise((resolve, reject) => {
            if (!write(id)) {
                reject(new ChatmeshError('disconnected', 'there is no connection'));
                return;
            }
            const timer = setTimeout(() => {
                this.#waiting.delete(id);
                reject(new ChatmeshError('timeout', 'no answer came in time'));
                onTimeout?.();
            }, timeoutMs);
            this.#waiting.set(id, { resolve, reject, timer });
        });
    }

    /** @param {any} frame True where it was a reply. */
    settle(frame) {
        const request = this.#waiting.get(frame.id);
        if (request === undefined) return false;
        this.#waiting.delete(frame.id);
        clearTimeout(request.timer);
        if (frame.type === 'error') request.reject(ChatmeshError.of(frame));
        else request.resolve(frame);
        return true;
    }

    /** @param {ChatmeshError} error */
    failAll(error) {
        const requests = [...this.#waiting.values()];
        this.#waiting.clear();
        for (const { reject, timer } of requests) {
            clearTimeout(timer);
            reject(error);
        }
    }
}
