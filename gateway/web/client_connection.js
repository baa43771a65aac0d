/**
 * client_connection - a connection that comes back: dialling, the token, the welcome, the
 * heartbeat, and what each close code asks for. Knows nothing of conversations.
 *
 * @module
 */

import { ChatmeshError, errorOf, nowMs, onPage } from './client_base.js';
import { socketOf, tokenOf, urlsOf, withNamed } from './client_urls.js';

/** @typedef {import('./client_types.js').Options} Options */
/** @typedef {import('./client_types.js').State} State */
/** @typedef {import('./client_types.js').StateChange} StateChange */
/** @typedef {import('./client_types.js').Welcome} Welcome */
/**
 * @typedef {object} Ports
 * @property {() => object} greeting What `connect` says besides the token.
 * @property {(frame: any) => void} frame Every frame but `welcome`.
 * @property {(welcome: Welcome) => void} up After the state went online.
 * @property {() => void} down What belongs to one connection has ended with it.
 * @property {(change: StateChange) => void} state
 * @property {(error: Error) => void} error
 */

const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 30000;
/** After 4029 the server is counting our attempts: begin as late as this. */
const BACKOFF_CROWDED_MS = 8000;
/** A connection that lived this long was healthy: the next loss starts at the first step again. */
const HEALTHY_MS = 10000;
const WELCOME_TIMEOUT_MS = 10000;
/** Long enough to ask a person, short enough for a request that got lost with its network. */
const TOKEN_TIMEOUT_MS = 60000;

const CLOSE_TOO_LARGE = 1009;
const CLOSE_PROTOCOL = 4500;
const CLOSE_TOKEN = 4501;
const CLOSE_LOGGED_OUT = 4503;
const CLOSE_REPLACED = 4509;
const CLOSE_CROWDED = 4029;
const CLOSES_FOR_GOOD = new Set([
    CLOSE_TOO_LARGE,
    CLOSE_PROTOCOL,
    CLOSE_LOGGED_OUT,
    CLOSE_REPLACED,
]);

/** How long to wait before the next attempt: exponential, with full jitter, so that the clients of
 * a dead gateway do not come back in step. */
class Backoff {
    /** @param {() => number} random */
    constructor(random) {
        this.random = random;
        this.attempts = 0;
    }

    /** @param {number} [leastMs] */
    nextMs(leastMs = 0) {
        const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.attempts);
        this.attempts = Math.min(this.attempts + 1, 16);
        return Math.round(leastMs + this.random() * ceiling);
    }

    reset() {
        this.attempts = 0;
    }
}

export class Connection {
    /** @type {State} */
    state = 'idle';
    /** @type {Welcome | null} */
    welcome = null;
    #options;
    #ports;
    #urls;
    #Socket;
    #urlIndex = 0;
    /** @type {string | undefined} */
    #token;
    #tokenRefused = false;
    #backoff;
    /** @type {any} */
    #socket = null;
    #heardAt = 0;
    #onlineAt = 0;
    #restartAt = 0;
    #notBefore = 0;
    #dials = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #dialTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #tokenTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #welcomeTimer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #restartTimer;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    #heartbeat;
    /** @type {(() => void)[]} */
    #unfollow = [];

    /** @param {Options & {random: () => number}} options @param {Ports} ports */
    constructor(options, ports) {
        this.#options = options;
        this.#ports = ports;
        this.#urls = urlsOf(options);
        this.#Socket = socketOf(options);
        this.#token = tokenOf(options);
        this.#backoff = new Backoff(options.random);
    }

    get isOnline() {
        return this.state === 'online' && this.#socket !== null;
    }

    start() {
        this.#dialNow();
        if (this.state !== 'idle' && this.state !== 'closed') return;
        this.#backoff.reset();
        this.#tokenRefused = false;
        this.#followNetwork();
        void this.#dial();
    }

    /** Go offline for good; start() begins again. */
    stop() {
        this.#dropSocket(1000);
        this.#end({ state: 'closed', code: 1000, reason: 'closed by the application' });
    }

    /** True where it was handed to an open connection. @param {object} frame */
    write(frame) {
        if (!this.isOnline) return false;
        this.#socket.send(JSON.stringify(frame));
        return true;
    }

    /** Give the socket up from our side. @param {number} code @param {string} reason */
    lose(code, reason) {
        if (this.#socket === null) return;
        this.#dropSocket(1000);
        this.#onClosed(code, reason);
    }

    /** The gateway is draining: stay until our turn, then go to the next.
     * @param {number} waitMs */
    leaveIn(waitMs) {
        this.#restartAt = nowMs() + waitMs;
        clearTimeout(this.#restartTimer);
        this.#restartTimer = setTimeout(() => this.lose(1012, 'the gateway restarts'), waitMs);
    }

    async #dial() {
        clearTimeout(this.#dialTimer);
        const dial = ++this.#dials;
        // stop(), and even start(), may come while the token is on its way.
        const isOurs = () => this.state === 'connecting' && dial === this.#dials;
        this.#setState({ state: 'connecting' });
        if (!isOurs()) return;
        try {
            const token = await (this.#token ?? this.#newToken());
            if (!isOurs()) return;
            this.#token = token;
        } catch (error) {
            if (isOurs()) this.#ports.error(errorOf(error));
            if (isOurs())
                this.#waitAndDial(this.#backoff.nextMs(), undefined, 'no token could be had');
            return;
        }
        try {
            this.#openSocket(new this.#Socket(this.#urls[this.#urlIndex % this.#urls.length]));
        } catch (error) {
            this.#onUndialable(errorOf(error));
        }
    }

    /** @returns {Promise<string>} */
    async #newToken() {
        const late = new ChatmeshError('timeout', 'getToken gave no answer in time');
        const timeout = new Promise((_, reject) => {
            clearTimeout(this.#tokenTimer);
            this.#tokenTimer = setTimeout(() => reject(late), TOKEN_TIMEOUT_MS);
        });
        const timer = this.#tokenTimer;
        try {
            const token = await Promise.race([this.#options.getToken?.(), timeout]);
            if (typeof token === 'string' && token !== '') return token;
            throw new TypeError('ChatmeshClient: what getToken gave is not a token');
        } finally {
            clearTimeout(timer);
        }
    }

    /** @param {any} socket */
    #openSocket(socket) {
        this.#socket = socket;
        this.#welcomeTimer = setTimeout(
            () => this.lose(1006, 'no welcome came in time'),
            WELCOME_TIMEOUT_MS,
        );
        socket.onopen = () => this.#socket === socket && this.#sendConnect();
        socket.onmessage = (/** @type {{data: any}} */ message) => {
            if (this.#socket === socket) this.#onText(socket, message.data);
        };
        let why = '';
        socket.onclose = (/** @type {{code: number, reason: string}} */ event) => {
            if (this.#socket === socket) this.#onClosed(event.code, String(event.reason || why));
        };
        // A close event always follows. In Node it is this one that knows why nobody answered.
        socket.onerror = (/** @type {{message?: string} | undefined} */ event) => {
            why = event?.message ?? '';
        };
    }

    /** The platform forbids it, say ws: from a page that came by https:. That does not pass.
     * @param {Error} error */
    #onUndialable(error) {
        this.#ports.error(error);
        if (this.state === 'connecting') this.#end({ state: 'closed', reason: error.message });
    }

    #sendConnect() {
        const greeting = this.#ports.greeting();
        this.#socket.send(
            JSON.stringify({ type: 'connect', id: 0, token: this.#token, ...greeting }),
        );
    }

    /** @param {any} socket @param {any} data */
    #onText(socket, data) {
        this.#heardAt = Date.now();
        let frames;
        try {
            frames = JSON.parse(data);
        } catch {
            this.#ports.error(new ChatmeshError('internal', 'the server sent what is not JSON'));
            return;
        }
        for (const frame of Array.isArray(frames) ? frames : [frames]) {
            if (this.#socket !== socket) return; // A listener called close().
            if (frame.type === 'welcome') this.#onWelcome(frame);
            else this.#ports.frame(frame);
        }
    }

    /** @param {Welcome} welcome */
    #onWelcome(welcome) {
        clearTimeout(this.#welcomeTimer);
        this.welcome = welcome;
        this.#tokenRefused = false;
        this.#onlineAt = nowMs();
        if (this.#options.urls === undefined) this.#learnUrls(welcome.urls);
        this.#startHeartbeat(welcome.ping_ms);
        this.#setState({ state: 'online' });
        if (this.isOnline) this.#ports.up(welcome); // A listener may have called close().
    }

    /** Where to go on when this gateway is gone. @param {unknown} named */
    #learnUrls(named) {
        const current = this.#urls[this.#urlIndex % this.#urls.length];
        this.#urls = withNamed(this.#urls[0], named, this.#options.random);
        this.#urlIndex = Math.max(0, this.#urls.indexOf(current));
    }

    /**
     * A browser shows no protocol pings, so silence is asked about, then believed. By the time of
     * day: in many a browser the other clock stands while the machine sleeps.
     * @param {number} pingMs
     */
    #startHeartbeat(pingMs) {
        clearInterval(this.#heartbeat);
        this.#heartbeat = setInterval(() => {
            if (Date.now() < this.#heardAt) this.#heardAt = Date.now(); // The clock was set back.
            const silentMs = Date.now() - this.#heardAt;
            if (silentMs >= pingMs * 2) this.lose(1006, 'nothing was heard from the server');
            else if (silentMs >= pingMs) this.write({ type: 'ping' });
        }, pingMs / 2);
    }

    /** @param {number} code */
    #dropSocket(code) {
        const socket = this.#socket;
        this.#socket = null;
        if (socket === null) return;
        try {
            socket.close(code);
        } catch {
            // Already closing: that is what we want.
        }
    }

    /** @param {number} code @param {string} reason */
    #onClosed(code, reason) {
        const wasOnline = this.#onlineAt > 0;
        const wasHealthy = wasOnline && nowMs() - this.#onlineAt >= HEALTHY_MS;
        const restMs = Math.max(0, Math.round(this.#restartAt - nowMs()));
        const restartIn = this.#restartAt > 0 ? restMs : null;
        this.#socket = null;
        this.#hangUp();
        if (this.state === 'closed') return; // A listener called close().
        if (wasHealthy || restartIn !== null) this.#backoff.reset();
        const mayAsk = this.#mayAskForToken();
        // The server knows that token no more: should we be told to come back, it is with another.
        if (code === CLOSE_TOKEN || code === CLOSE_LOGGED_OUT) this.#forgetToken();
        if (CLOSES_FOR_GOOD.has(code) || (code === CLOSE_TOKEN && !mayAsk)) {
            this.#end({ state: 'closed', code, reason });
            return;
        }
        this.#urlIndex++;
        const leastMs = restartIn ?? (code === CLOSE_CROWDED ? BACKOFF_CROWDED_MS : 0);
        this.#notBefore = nowMs() + leastMs;
        if (code === CLOSE_TOKEN) {
            this.#tokenRefused = true;
            // One that is taken and expires at once would have us come back without a pause.
            const isBrief = wasOnline && !wasHealthy;
            this.#waitAndDial(isBrief ? this.#backoff.nextMs() : 0, code, reason);
        } else if (restartIn !== null) {
            this.#waitAndDial(restartIn, code, reason);
        } else {
            this.#waitAndDial(this.#backoff.nextMs(leastMs), code, reason);
        }
    }

    /** Once: a new token that is refused as well will not get better. */
    #mayAskForToken() {
        return typeof this.#options.getToken === 'function' && !this.#tokenRefused;
    }

    #forgetToken() {
        if (typeof this.#options.getToken === 'function') this.#token = undefined;
    }

    /** What belongs to one connection ends with it. */
    #hangUp() {
        clearTimeout(this.#welcomeTimer);
        clearTimeout(this.#restartTimer);
        clearInterval(this.#heartbeat);
        this.#onlineAt = 0;
        this.#restartAt = 0;
        this.#ports.down();
    }

    /** @param {number} ms @param {number} [code] @param {string} [reason] */
    #waitAndDial(ms, code, reason) {
        clearTimeout(this.#dialTimer);
        this.#dialTimer = setTimeout(() => void this.#dial(), ms);
        // Last: a listener may call close(), which takes the timer back.
        this.#setState({ state: 'waiting', code, reason, retryInMs: ms });
    }

    /** @param {StateChange} change */
    #end(change) {
        clearTimeout(this.#dialTimer);
        clearTimeout(this.#tokenTimer);
        for (const off of this.#unfollow.splice(0)) off();
        this.#hangUp();
        if (this.state !== 'closed') this.#setState(change); // Else a listener was faster.
    }

    /** @param {StateChange} change */
    #setState(change) {
        this.state = change.state;
        this.#ports.state(change);
    }

    /** The browser knows first when the network goes and comes back, and when somebody does. */
    #followNetwork() {
        this.#unfollow = [
            onPage('offline', () => this.lose(1006, 'the network is gone')),
            onPage('online', () => this.#dialNow()),
            onPage('visibilitychange', () => document.hidden || this.#dialNow()),
        ];
    }

    /** Somebody knows better than our wait, unless it is the server that asked for it. */
    #dialNow() {
        if (this.state === 'waiting' && nowMs() >= this.#notBefore) void this.#dial();
    }
}
