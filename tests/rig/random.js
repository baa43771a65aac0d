// random - everything that a seed draws.

/** A small generator with a seed (mulberry32). */
function generator(seed) {
    let state = seed >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let x = Math.imul(state ^ (state >>> 15), state | 1);
        x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
        return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
    };
}

export class Random {
    constructor(seed) {
        this.next = generator(seed);
    }

    chance(share) {
        return this.next() < share;
    }

    between(least, most) {
        return least + this.next() * (most - least);
    }

    /** Short ones are as likely as long ones: 0.1..1 s as often as 1..10 s. */
    span(leastMs, mostMs) {
        return leastMs * (mostMs / leastMs) ** this.next();
    }

    oneOf(list) {
        return list[Math.floor(this.next() * list.length)];
    }

    shuffled(list) {
        const out = [...list];
        for (let i = out.length - 1; i > 0; i--) {
            const j = Math.floor(this.next() * (i + 1));
            [out[i], out[j]] = [out[j], out[i]];
        }
        return out;
    }
}
