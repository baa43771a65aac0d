// chat_dom - the page's small pieces: elements, icons, avatars, ticks, lists that stay equal to
// what they show, words for those who do not see, and notes that go by themselves.

/** @typedef {'sending'|'sent'|'delivered'|'read'|'failed'} Status */

const SVG = 'http://www.w3.org/2000/svg';
const AVATAR_COLOURS = 8; // .avatar-0 … in chat.css.
const TOAST_MS = 5000;
const ANNOUNCED_MS = 3000;

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} className @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, className, ...children) {
    const node = document.createElement(tag);
    node.className = className;
    node.append(...children); // Strings become text nodes.
    return node;
}

/**
 * What somebody wrote, or is called: its own letters say from which side it is read.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} className @param {...(Node | string)} children
 */
export function written(tag, className, ...children) {
    const node = element(tag, className, ...children);
    node.dir = 'auto';
    return node;
}

/** A name in a sentence of ours. @param {string} name */
export const isolated = (name) => element('bdi', '', name);

/** @param {string} name */
export function icon(name) {
    const svg = document.createElementNS(SVG, 'svg');
    const use = document.createElementNS(SVG, 'use');
    use.setAttribute('href', `#i-${name}`);
    svg.setAttribute('aria-hidden', 'true');
    svg.append(use);
    return svg;
}

/** @param {string} name @param {string} label */
export function iconButton(name, label) {
    const button = element('button', 'icon-button', icon(name));
    button.type = 'button';
    button.title = label;
    button.setAttribute('aria-label', label);
    return button;
}

/** Which of the colours is a name's own. @param {string} name */
export function colourOf(name) {
    let hash = 0;
    for (const char of name) hash = (hash * 31 + /** @type {number} */ (char.codePointAt(0))) >>> 0;
    return hash % AVATAR_COLOURS;
}

/** Initials on the name's colour; with a dot where somebody is there.
 * @param {string} name @param {string} [size] @param {string | null} [status] */
export function avatar(name, size = '', status = null) {
    const words = name.split(/[\s._-]+/u).filter((word) => word !== '');
    const initials = words
        .slice(0, 2)
        .map((word) => [...word][0])
        .join('')
        .toUpperCase();
    const node = element('span', `avatar avatar-${colourOf(name)} ${size}`, initials || '?');
    node.setAttribute('aria-hidden', 'true');
    if (status !== null && status !== 'offline') node.append(element('span', `dot dot-${status}`));
    return node;
}

/** @type {Record<Status, [string, string]>} Icon and its name for those who do not see it. */
const STATUS_ICONS = {
    sending: ['clock', 'sending'],
    sent: ['sent', 'sent'],
    delivered: ['twice', 'delivered'],
    read: ['twice', 'read'],
    failed: ['failed', 'not sent'],
};

/** @param {Status} status */
export function tick(status) {
    const [name, label] = STATUS_ICONS[status];
    const node = element('span', `tick tick-${status}`, icon(name));
    node.setAttribute('role', 'img');
    node.setAttribute('aria-label', label);
    node.title = label;
    return node;
}

/**
 * One child of a list.
 * @typedef {object} Item
 * @property {string} key
 * @property {string} print What the node shows: another one means another node.
 * @property {() => HTMLElement} make
 */

/**
 * Keeps a list's nodes equal to the items with few changes: most often the tail grows or one tick
 * changes, and then only that is touched. The focus stays with the key it was on.
 */
export class Keyed {
    /** @param {HTMLElement} list */
    constructor(list) {
        this.list = list;
        /** @type {Map<string, {node: HTMLElement, print: string}>} */
        this.nodes = new Map();
    }

    /** @param {Item[]} items */
    show(items) {
        const focused = this.#focusedKey();
        /** @type {Map<string, {node: HTMLElement, print: string}>} */
        const next = new Map();
        for (const { key, print, make } of items) {
            const known = this.nodes.get(key);
            const kept = known !== undefined && known.print === print;
            next.set(key, kept ? known : { node: make(), print });
        }
        for (const [key, { node }] of this.nodes) if (next.get(key)?.node !== node) node.remove();
        this.nodes = next;
        let at = this.list.firstChild;
        for (const { node } of next.values()) {
            if (node === at) at = at.nextSibling;
            else this.list.insertBefore(node, at);
        }
        if (focused !== null) this.#focusAgain(focused.key, focused.selector);
    }

    #focusedKey() {
        const { activeElement } = document;
        if (activeElement === null || !this.list.contains(activeElement)) return null;
        for (const [key, { node }] of this.nodes)
            if (node.contains(activeElement))
                return { key, selector: node === activeElement ? '' : activeElement.className };
        return null;
    }

    /** A node that was made anew has lost it; one that was moved as well.
     * @param {string} key @param {string} className */
    #focusAgain(key, className) {
        const node = this.nodes.get(key)?.node;
        if (node === undefined || node.contains(document.activeElement)) return;
        const inner = className === '' ? null : node.getElementsByClassName(className)[0];
        /** @type {HTMLElement} */ (inner ?? node).focus({ preventScroll: true });
    }

    clear() {
        this.nodes.clear();
        this.list.replaceChildren();
    }
}

/** Say something to a screen reader. @param {string} text */
export function announce(text) {
    const region = byId('announcer');
    const node = element('p', '', text); // Each addition is read, the same words twice too.
    region.append(node);
    setTimeout(() => node.remove(), ANNOUNCED_MS);
}

let toastTimer = 0;

/** A note at the bottom that goes by itself. @param {string} text */
export function toast(text) {
    const node = byId('toast');
    node.textContent = text;
    node.hidden = false;
    clearTimeout(toastTimer);
    toastTimer = window.setTimeout(() => {
        node.hidden = true;
    }, TOAST_MS);
}

/** Do it, and say where it failed, but not to who logged out. @param {Promise<any>} promise */
export function orToast(promise) {
    promise.catch((error) => error.code !== 'closed' && toast(error.message));
}

/** Arrow keys, Home and End move the focus among these.
 * @param {KeyboardEvent} event @param {HTMLElement[]} nodes @param {{both?: boolean}} [options]
 *   `both`: left and right too. Returns whether the key was one of them. */
export function moveFocus(event, nodes, { both = false } = {}) {
    if (nodes.length === 0) return false;
    const at = nodes.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const { key } = event;
    let to;
    if (key === 'ArrowDown' || (both && key === 'ArrowRight')) to = at + 1;
    else if (key === 'ArrowUp' || (both && key === 'ArrowLeft')) to = at < 0 ? -1 : at - 1;
    else if (key === 'Home') to = 0;
    else if (key === 'End') to = nodes.length - 1;
    else return false;
    event.preventDefault();
    if (both) to = (to + nodes.length) % nodes.length;
    nodes[Math.max(0, Math.min(nodes.length - 1, to))].focus();
    return true;
}
