// report - a run in figures.

/** The value that this share of the list lies below. */
export function percentile(list, share) {
    const sorted = [...list].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

const ms = (value) => (Number.isNaN(value) ? '-' : String(Math.round(value)));

function row(label, cells) {
    return `  ${label.padEnd(28)}${cells.map((cell) => String(cell).padStart(9)).join('')}`;
}

/** The fault to which a wait belongs: one that lasted when it began, else the first that began
 *  during it, else the last before. */
function faultOf(faults, { inventedAt, at }) {
    let found = null;
    for (const fault of faults) {
        if (fault.begunAt > at) break;
        const isTaken = found !== null && found.endedAt > inventedAt;
        if (isTaken || (found !== null && found.begunAt > inventedAt)) break;
        found = fault;
    }
    return found;
}

/** Kind to {count, waits: each lane's longest in each, back: from its end to the last lane}. */
function pauses(book) {
    const kinds = new Map();
    const longest = new Map(book.faults.map((fault) => [fault, new Map()]));
    for (const lane of book.lanes) {
        for (const ack of lane.acks) {
            const waits = longest.get(faultOf(book.faults, ack));
            if (waits === undefined) continue;
            waits.set(lane, Math.max(waits.get(lane) ?? 0, ack.at - ack.inventedAt));
        }
    }
    for (const fault of book.faults) {
        const kind = kinds.get(fault.kind) ?? { count: 0, waits: [], back: [] };
        kinds.set(fault.kind, kind);
        kind.count++;
        kind.waits.push(...longest.get(fault).values());
        const isLater = (ack) => ack.at >= fault.endedAt;
        const back = Math.max(...book.lanes.map((lane) => lane.acks.find(isLater)?.at ?? Infinity));
        const isLast = !book.faults.some(({ begunAt }) => begunAt > fault.begunAt && begunAt < back);
        if (fault.endedAt !== null && back < Infinity && isLast)
            kind.back.push(back - fault.endedAt);
    }
    return kinds;
}

export function printPauses(book) {
    console.log('\nhow long clients waited for `sent`, the longest of each in each fault, in ms;');
    console.log('and from the fault\'s end until every one of them had sent something again');
    console.log(row('', ['faults', 'p50', 'p99', 'max', 'back p50', 'max']));
    for (const [kind, { count, waits, back }] of [...pauses(book)].sort())
        console.log(row(kind, [
            count,
            ...[0.5, 0.99, 1].map((share) => ms(percentile(waits, share))),
            ...[0.5, 1].map((share) => ms(percentile(back, share))),
        ]));
}

export function printCounts(book) {
    console.log('');
    for (const [what, count] of [...book.counts].sort()) console.log(row(what, [count]));
}

/** One line of a measured span. */
export function printSpan(label, list) {
    const figures = [0.5, 0.99, 1].map((share) => ms(percentile(list, share)));
    console.log(`${label}: p50 ${figures[0]} ms, p99 ${figures[1]} ms, max ${figures[2]} ms ` +
        `(${list.length})`);
}
