// chat_menu - menus: of a message (reactions, reply, edit, ...) and of oneself (status, theme, log
// out). A native popover each: a click beside it or Escape closes it, and the focus goes back.

import { byId, element, icon, moveFocus } from './chat_dom.js';

/**
 * @typedef {object} Choice
 * @property {string} label
 * @property {string} [icon]
 * @property {boolean} [isOn] Of a choice that is set or not.
 * @property {boolean} [isDanger]
 * @property {() => void} act
 */
/** @typedef {{left: number, right: number, top: number, bottom: number}} Box */

const EMOJIS = ['👍', '❤️', '😂', '🎉', '😮', '😢', '🙏', '👀'];
const MARGIN_PX = 8;
const GAP_PX = 4;

/** Kept on the screen. @param {number} at @param {number} max */
const within = (at, max) => Math.max(MARGIN_PX, Math.min(at, max - MARGIN_PX));

/** @param {Choice} choice */
function choiceNode({ label, icon: name, isOn, isDanger }) {
    const node = element('button', 'choice', label);
    node.type = 'button';
    if (name !== undefined) node.prepend(icon(name));
    node.setAttribute('role', isOn === undefined ? 'menuitem' : 'menuitemradio');
    if (isOn !== undefined) node.setAttribute('aria-checked', String(isOn));
    if (isOn) {
        const mark = icon('check');
        mark.classList.add('mark');
        node.append(mark);
    }
    if (isDanger) node.classList.add('danger');
    return node;
}

export class Menu {
    /** @param {HTMLElement} node With `popover`. */
    constructor(node) {
        this.node = node;
        /** @type {HTMLElement | null} */
        this.opener = null;
        node.addEventListener('keydown', (event) => {
            if (event.key === 'Tab') this.close();
            else moveFocus(event, this.#items(), { both: true });
        });
        node.addEventListener('toggle', (event) => {
            if (/** @type {ToggleEvent} */ (event).newState !== 'closed') return;
            const isLost =
                document.activeElement === document.body || node.contains(document.activeElement);
            if (isLost) this.opener?.focus({ preventScroll: true });
        });
    }

    #items() {
        return /** @type {HTMLElement[]} */ ([...this.node.querySelectorAll('button')]);
    }

    close() {
        this.node.hidePopover();
    }

    /**
     * @param {HTMLElement} opener Gets the focus back.
     * @param {Box} at What it is about: it stands below that, or above where there is more room.
     * @param {(Node | Choice)[]} parts
     * @param {{alignEnd?: boolean}} [options]
     */
    open(opener, at, parts, { alignEnd = false } = {}) {
        this.opener = opener;
        this.node.replaceChildren(
            ...parts.map((part) => {
                if (part instanceof Node) return part;
                const node = choiceNode(part);
                node.addEventListener('click', () => {
                    this.close();
                    part.act();
                });
                return node;
            }),
        );
        this.node.showPopover();
        const { offsetWidth: width, offsetHeight: height } = this.node;
        const left = alignEnd ? at.right - width : at.left;
        const fitsBelow = at.bottom + GAP_PX + height + MARGIN_PX <= innerHeight;
        const top = fitsBelow ? at.bottom + GAP_PX : at.top - GAP_PX - height;
        this.node.style.left = `${within(left, innerWidth - width)}px`;
        this.node.style.top = `${within(top, innerHeight - height)}px`;
        this.#items()[0]?.focus({ preventScroll: true });
    }

    /** A row of emojis; those in `mine` are set. @param {Set<string>} mine
     * @param {(emoji: string, on: boolean) => void} act */
    emojis(mine, act) {
        const row = element('div', 'emojis');
        row.setAttribute('role', 'group');
        row.setAttribute('aria-label', 'React');
        for (const emoji of EMOJIS) {
            const button = element('button', 'emoji', emoji);
            button.type = 'button';
            button.setAttribute('role', 'menuitemcheckbox');
            button.setAttribute('aria-checked', String(mine.has(emoji)));
            button.addEventListener('click', () => {
                this.close();
                act(emoji, !mine.has(emoji));
            });
            row.append(button);
        }
        return row;
    }
}

/** A line of a menu that heads what follows. @param {string} text */
export function heading(text) {
    return element('p', 'menu-heading', text);
}

/** Ask before what cannot be undone. @param {string} question @param {string} action
 * @returns {Promise<boolean>} */
export function ask(question, action) {
    const dialog = /** @type {HTMLDialogElement} */ (byId('ask-dialog'));
    byId('ask-text').textContent = question;
    byId('ask-yes').textContent = action;
    dialog.returnValue = '';
    dialog.showModal();
    return new Promise((resolve) => {
        dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), {
            once: true,
        });
    });
}

/** @typedef {'system'|'light'|'dark'} Theme */

/** @returns {Theme} */
const theme = () => /** @type {Theme} */ (document.documentElement.dataset.theme ?? 'system');

/** Kept for this device; chat_theme.js applies it to the next page. @param {Theme} chosen */
function setTheme(chosen) {
    document.documentElement.dataset.theme = chosen;
    localStorage.setItem('chatmesh.theme', chosen);
}

/** @returns {Choice[]} */
export function themeChoices() {
    /** @type {[Theme, string][]} */
    const themes = [
        ['system', 'Like the system'],
        ['light', 'Light'],
        ['dark', 'Dark'],
    ];
    return themes.map(([value, label]) => ({
        label,
        isOn: theme() === value,
        act: () => setTheme(value),
    }));
}
