// siphash - SipHash-2-4, with which the cluster spreads conversations over its shards: so the rig
// knows which router to kill.
const MASK = (1n << 64n) - 1n;
const rotate = (x, bits) => ((x << bits) | (x >> (64n - bits))) & MASK;

function round(v) {
    v[0] = (v[0] + v[1]) & MASK;
    v[1] = rotate(v[1], 13n) ^ v[0];
    v[0] = rotate(v[0], 32n);
    v[2] = (v[2] + v[3]) & MASK;
    v[3] = rotate(v[3], 16n) ^ v[2];
    v[0] = (v[0] + v[3]) & MASK;
    v[3] = rotate(v[3], 21n) ^ v[0];
    v[2] = (v[2] + v[1]) & MASK;
    v[1] = rotate(v[1], 17n) ^ v[2];
    v[2] = rotate(v[2], 32n);
}

export function siphash(key, bytes) {
    const k = [key.readBigUInt64LE(0), key.readBigUInt64LE(8)];
    const v = [
        k[0] ^ 0x736f6d6570736575n,
        k[1] ^ 0x646f72616e646f6dn,
        k[0] ^ 0x6c7967656e657261n,
        k[1] ^ 0x7465646279746573n,
    ];
    // The last word holds what is left over, and the size in its highest byte.
    const padded = Buffer.alloc((Math.floor(bytes.length / 8) + 1) * 8);
    bytes.copy(padded);
    padded[padded.length - 1] = bytes.length & 0xff;
    for (let at = 0; at < padded.length; at += 8) {
        const word = padded.readBigUInt64LE(at);
        v[3] ^= word;
        round(v);
        round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xffn;
    for (let i = 0; i < 4; i++) round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/** The shard of a conversation (mesh/wire/key.c). */
export function shardOf(cluster, shards, conv) {
    return Number(siphash(Buffer.from(cluster, 'hex'), Buffer.from(conv)) % BigInt(shards));
}
