/**
 * client_urls - what can be judged of the options before anything is dialled.
 *
 * @module
 */

/** @typedef {import('./client_types.js').Options} Options */

/** @param {string} url @param {string} [base] @returns {URL | null} */
function parsed(url, base) {
    try {
        return new URL(url, base); // URL.canParse() is younger than many a browser.
    } catch {
        return null;
    }
}

/**
 * Where to dial, as the socket takes it. In a page a relative URL is the page's own server.
 * @param {string} url @returns {string}
 */
function dialable(url) {
    const wrong = (/** @type {string} */ why) =>
        new TypeError(`ChatmeshClient: ${why}, like ws://localhost:8080/ws, and not: ${url}`);
    const whole = parsed(url);
    if (whole !== null) {
        if (!/^wss?:$/.test(whole.protocol)) throw wrong('the url must be ws: or wss:');
        return String(url);
    }
    const base = globalThis.location?.href ?? '';
    const there = /^https?:/.test(base) ? parsed(url, base) : null;
    if (there === null) throw wrong('the url must be complete');
    return there.href.replace(/^http/, 'ws');
}

/** All that there are, at least one. @param {Options} options */
export function urlsOf({ url, urls = url === undefined ? [] : [url] }) {
    if (urls.length === 0) throw new TypeError('ChatmeshClient: url or urls is needed');
    return urls.map(dialable);
}

/** What a list that a gateway gives may have us try. */
const LEARNED_MAX = 16;

/** `own`, and then what a gateway names beside it: addresses, none less safe than our own. In an
 * order of our own, so that not all who lose one gateway come to the same.
 * @param {string} own @param {unknown} named @param {() => number} random */
export function withNamed(own, named, random) {
    const isSecure = parsed(own)?.protocol === 'wss:';
    const others = (Array.isArray(named) ? named : [])
        .filter((url) => {
            const protocol = typeof url === 'string' ? parsed(url)?.protocol : undefined;
            return url !== own && (protocol === 'wss:' || (protocol === 'ws:' && !isSecure));
        })
        .map((url) => ({ url, place: random() }))
        .sort((a, b) => a.place - b.place);
    return [own, ...others.slice(0, LEARNED_MAX).map(({ url }) => url)];
}

/** The one to begin with, where it is not for getToken to say. @param {Options} options */
export function tokenOf({ token, getToken }) {
    if (typeof token !== 'string' && typeof getToken !== 'function')
        throw new TypeError('ChatmeshClient: token or getToken is needed');
    return token ?? undefined; // A page may have read null from its storage.
}

/** The constructor of sockets: the one that was given, or the platform's. @param {Options} options
 * @returns {any} */
export function socketOf(options) {
    const Socket = options.WebSocket ?? globalThis.WebSocket;
    if (typeof Socket !== 'function')
        throw new TypeError(
            'ChatmeshClient: there is no WebSocket here; give one as the option WebSocket',
        );
    return Socket;
}
