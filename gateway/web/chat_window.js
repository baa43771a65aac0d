// chat_window - which entries of a conversation make so many lines.
//
// Entries and lines are not the same number: people whom one person added one after the other are
// one line, and some entries are none. The window of messages is counted in lines, else a screen
// would stay empty with a thousand entries in it.

import { eventParts, isAdding } from './chat_text.js';

/** @typedef {import('./client.js').Entry} Entry */

/** Does this one only make the line before it longer?
 * @param {Entry[]} entries @param {number} at */
function isContinuation(entries, at) {
    return (
        at > 0 &&
        isAdding(entries[at]) &&
        isAdding(entries[at - 1]) &&
        entries[at].from === entries[at - 1].from
    );
}

/** Does a line begin with this one? @param {Entry[]} entries @param {number} at */
function isLine(entries, at) {
    if (entries[at].type === 'message') return true;
    return !isContinuation(entries, at) && eventParts(entries[at]) !== null;
}

/** How many entries from `at` on are one person adding others: they are one line.
 * @param {Entry[]} entries @param {number} at */
export function addedRun(entries, at) {
    if (!isAdding(entries[at])) return 0;
    let end = at + 1;
    while (end < entries.length && isContinuation(entries, end)) end++;
    return end - at;
}

/** Where the line begins that the entry is in. @param {Entry[]} entries @param {number} at */
export function lineStart(entries, at) {
    let start = at;
    while (start < entries.length && isContinuation(entries, start)) start--;
    return start;
}

/** Where the `count` lines before `at` begin. @param {Entry[]} entries @param {number} at
 * @param {number} count */
export function linesBack(entries, at, count) {
    let low = Math.min(at, entries.length);
    for (let found = 0; low > 0 && found < count; low--) if (isLine(entries, low - 1)) found++;
    return low;
}

/** Where the `count` lines from `at` on end. @param {Entry[]} entries @param {number} at
 * @param {number} count */
export function linesOn(entries, at, count) {
    let high = at;
    for (let found = 0; high < entries.length; high++)
        if (isLine(entries, high) && ++found > count) break;
    return high;
}

/** Is its first line longer than what is loaded of it?
 * @param {{entries: Entry[], isComplete: boolean}} conversation */
export function isFirstLineCut({ entries, isComplete }) {
    return !isComplete && entries.length > 0 && isAdding(entries[0]);
}
