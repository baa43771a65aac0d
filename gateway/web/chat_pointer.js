// chat_pointer - what mouse and finger do to a message: its menu by the right button or a long
// press, and two buttons beside the one under the mouse.

import { byId } from './chat_dom.js';

/** @typedef {import('./chat_model.js').Shown} Shown */
/** @typedef {import('./chat_menu.js').Box} Box */
/** @typedef {{node: HTMLElement, message: Shown}} At */
/** @typedef {(target: EventTarget | null) => At | null} MessageAt */
/** @typedef {(message: Shown, node: HTMLElement, at?: Box) => void} OpenMenu */

const LONG_PRESS_MS = 450;
const LONG_PRESS_SLOP_PX = 10;

/** @param {number} x @param {number} y @returns {Box} */
const boxAt = (x, y) => ({ left: x, right: x, top: y, bottom: y });

/** @param {HTMLElement} scroller @param {MessageAt} messageAt @param {OpenMenu} open */
export function wireMenu(scroller, messageAt, open) {
    let timer = 0;
    let from = { x: 0, y: 0 };
    let isOpened = false; // By the press under way.
    scroller.addEventListener('contextmenu', (event) => {
        const isTouch = /** @type {PointerEvent} */ (event).pointerType === 'touch';
        if (isTouch && isOpened) {
            event.preventDefault();
            return;
        }
        const at = messageAt(event.target);
        const isLink = /** @type {Element} */ (event.target).closest('a') !== null;
        if (at === null || isLink || getSelection()?.isCollapsed === false) return;
        event.preventDefault();
        isOpened = isTouch;
        clearTimeout(timer);
        open(at.message, at.node, isTouch ? undefined : boxAt(event.clientX, event.clientY));
    });
    const stop = () => clearTimeout(timer);
    scroller.addEventListener('pointerdown', (event) => {
        stop();
        isOpened = false;
        const at = messageAt(event.target);
        if (event.pointerType !== 'touch' || at === null) return;
        from = { x: event.clientX, y: event.clientY };
        timer = window.setTimeout(() => {
            isOpened = true;
            open(at.message, at.node);
        }, LONG_PRESS_MS);
    });
    scroller.addEventListener('pointermove', (event) => {
        const { clientX: x, clientY: y } = event;
        if (Math.hypot(x - from.x, y - from.y) > LONG_PRESS_SLOP_PX) stop();
    });
    for (const type of ['pointerup', 'pointercancel', 'scroll'])
        scroller.addEventListener(type, stop, { passive: true });
    // The finger goes up outside of the menu: that would be a click beside it, which closes it.
    scroller.addEventListener('touchend', (event) => isOpened && event.preventDefault(), {
        passive: false,
    });
}

/** One pair of buttons, put beside the message under the mouse.
 * @param {HTMLElement} scroller @param {MessageAt} messageAt
 * @param {{menu: OpenMenu, reply: (message: Shown) => void}} ports */
export function wireTools(scroller, messageAt, { menu, reply }) {
    const tools = byId('tools');
    tools.remove();
    scroller.addEventListener('mouseover', (event) => {
        const at = messageAt(event.target);
        if (at === null || at.message.deleted) tools.remove();
        else if (tools.parentElement?.closest('.message') !== at.node)
            at.node.querySelector('.bubble')?.append(tools);
    });
    scroller.addEventListener('mouseleave', () => tools.remove());
    tools.addEventListener('click', (/** @type {MouseEvent} */ event) => {
        const at = messageAt(event.target);
        const button = /** @type {Element} */ (event.target).closest('button');
        if (at === null || button === null) return;
        if (button.id === 'tool-reply') reply(at.message);
        else menu(at.message, at.node, button.getBoundingClientRect());
    });
}
