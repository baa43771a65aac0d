// disk - one router's disk: a tmpfs of its own, or a plain folder; and what can go wrong with it.
//
// Full: the tmpfs is shrunk to what it holds, so that the very next block is ENOSPC. Slow, broken:
// disk_shim.c, which the node is started with, reads its orders from a file that both map. Power
// lost: of each log of the store (a write-ahead log only grows) what was synced is left, by what the
// shim wrote down, and a random part of the rest.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, statfsSync } from 'node:fs';
import { closeSync, openSync, readFileSync, readSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('disk_shim.c', import.meta.url));
const SIZE = 1024 ** 3; // Of a tmpfs: a bound, not a reservation.
const DELAY = 0; // Offsets of struct control.
const FAIL = 4;
const SYNCS = 8;
const FAILED = 12;
const CONTROL_SIZE = 16;
const SYNCED_SIZE = 16; // Of struct synced.
const LOG_FILE = /^[0-9]+\.log$/;

function run(command, args) {
    const done = spawnSync(command, args, { encoding: 'utf8' });
    if (done.status !== 0)
        throw new Error(`${command} ${args.join(' ')}: ${done.error ?? done.stderr}`);
}

/** Compile the shim. Returns its path, or null where there is no compiler. */
export function compileShim(folder) {
    const path = join(folder, 'disk_shim.so');
    const compiler = process.env.CC ?? 'cc';
    const flags = ['-std=c11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-shared', '-fPIC'];
    const done = spawnSync(compiler, [...flags, '-o', path, SOURCE, '-ldl'], { encoding: 'utf8' });
    if (done.status === 0) return path;
    console.log(`no slow or broken disks: ${done.error?.message ?? done.stderr}`);
    return null;
}

export class Disk {
    /** `isOwn`: a tmpfs of its own, else a folder on the disk that `folder` is on. */
    constructor(folder, node, { isOwn, shim }) {
        this.folder = join(folder, node);
        this.isOwn = isOwn;
        this.shim = shim;
        mkdirSync(this.folder);
        if (isOwn) run('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'none', this.folder]);
        this.controlPath = join(folder, `${node}.disk`);
        this.syncedPath = join(folder, `${node}.synced`);
        this.control = openSync(this.controlPath, 'w+');
        writeSync(this.control, Buffer.alloc(CONTROL_SIZE), 0, CONTROL_SIZE, 0);
    }

    /** Where the node keeps its data. */
    get data() {
        return join(this.folder, 'data');
    }

    get environment() {
        if (this.shim === null) return {};
        const files = { RIG_DISK: this.controlPath, RIG_SYNCED: this.syncedPath };
        const preload = { LD_PRELOAD: this.shim, ...files };
        // A sanitizer wants to come first, which it need not: the shim calls nothing it watches. And
        // a router whose disk fails does not close its store, lest that write something.
        const asan = `${process.env.ASAN_OPTIONS ?? ''}:verify_asan_link_order=0:detect_leaks=0`;
        return { ...preload, ASAN_OPTIONS: asan };
    }

    #read(offset) {
        const word = Buffer.alloc(4);
        readSync(this.control, word, 0, 4, offset);
        return word.readUInt32LE();
    }

    #write(offset, value) {
        const word = Buffer.alloc(4);
        word.writeUInt32LE(value);
        writeSync(this.control, word, 0, 4, offset);
    }

    get syncs() {
        return this.#read(SYNCS);
    }

    get failed() {
        return this.#read(FAILED);
    }

    /** From now on every sync takes so much longer. */
    slow(ms) {
        this.#write(DELAY, Math.round(ms * 1000));
    }

    failSyncs(count) {
        this.#write(FAIL, count);
    }

    fill() {
        const { blocks, bfree, bsize } = statfsSync(this.folder);
        // The kernel refuses less than what is used by now: the next attempt is near enough.
        for (let spare = 0; spare < 64; spare++) {
            const size = Math.max((blocks - bfree + spare) * bsize, bsize);
            const options = `remount,size=${size}`;
            if (spawnSync('mount', ['-o', options, this.folder]).status === 0) return;
        }
        throw new Error(`${this.folder} cannot be filled`);
    }

    free() {
        run('mount', ['-o', `remount,size=${SIZE}`, this.folder]);
    }

    /** Inode to the size that is on the disk for certain. */
    #synced() {
        const sizes = new Map();
        if (!existsSync(this.syncedPath)) return sizes;
        const records = readFileSync(this.syncedPath);
        for (let at = 0; at + SYNCED_SIZE <= records.length; at += SYNCED_SIZE)
            sizes.set(records.readBigUInt64LE(at), records.readBigUInt64LE(at + 8));
        return sizes;
    }

    /** What was not synced may be gone; the node must be down. Returns how many bytes went. */
    losePower(random) {
        if (!existsSync(this.data)) return 0;
        const synced = this.#synced();
        let lost = 0;
        for (const name of readdirSync(this.data).filter((each) => LOG_FILE.test(each))) {
            const path = join(this.data, name);
            const { ino, size } = statSync(path, { bigint: true });
            const least = Number(synced.get(ino) ?? 0n);
            const left = Math.floor(random.between(least, Number(size) + 1));
            if (left >= Number(size)) continue;
            truncateSync(path, left);
            lost += Number(size) - left;
        }
        return lost;
    }

    /** The disk was replaced by an empty one. */
    wipe() {
        for (const name of readdirSync(this.folder))
            rmSync(join(this.folder, name), { recursive: true, force: true });
    }

    /** A copy that outlives the sandbox. */
    save(to) {
        if (this.isOwn) cpSync(this.folder, to, { recursive: true });
    }

    close() {
        closeSync(this.control);
    }
}
