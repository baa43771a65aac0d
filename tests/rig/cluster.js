// cluster - routers and gateways as processes of their own, in namespaces of their own, and what
// their logs and exit codes say about them.
//
// A node that ends is started again after a moment unless it is held down; why it ended is judged:
// what the rig did to it is an excuse, anything else is a violation (C13).
import { spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, openSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { BINARY, freePorts, run, sleep, until } from '../integration/cluster.js';
import { Disk, compileShim } from './disk.js';
import { CLIENTS, Network } from './network.js';
import { whatIsMissing } from './placement.js';

const MESH_PORT = 7400;
const HTTP_PORT = 8080;
const RESPAWN_MS = 300;
const DISK_EXCUSE_MS = 5000; // A router may end so long after its disk was bad.
const TERM_MS = 20000; // SIGTERM must end a node within.
const STATUS_MS = 4000;
const READY_MS = 60000; // A new cluster is whole within.
/** What a log may never say. */
const BAD_LINE = /chatmesh: bug:|Sanitizer|runtime error:|corrupt|replica_damaged|diverged|panic/i;

class Node {
    constructor(cluster, id, role) {
        this.cluster = cluster;
        this.id = id;
        this.role = role;
        this.child = null;
        this.isHeld = false; // Stays down until released.
        this.isStopped = false; // By SIGSTOP.
        this.killedBy = null; // The signal that the rig sent last.
        this.excusedUntil = 0; // Its disk may be why it ends.
        this.starts = 0;
        this.logPath = join(cluster.folder, `${id}.log`);
        this.log = openSync(this.logPath, 'a');
    }

    get isUp() {
        return this.child !== null;
    }

    start() {
        if (this.child !== null) return;
        this.isHeld = false;
        this.killedBy = null;
        this.starts++;
        // Bound to the rig's life where no namespace of process ids does it.
        const words = [...this.cluster.prefix(this), 'setpriv', '--pdeathsig', 'KILL', BINARY];
        words.push(this.role, ...this.cluster.flags(this));
        const environment = this.disk?.environment ?? {};
        const child = spawn(words[0], words.slice(1), {
            stdio: ['ignore', this.log, this.log],
            env: { ...process.env, ...environment },
        });
        this.child = child;
        this.ended = new Promise((resolve) => {
            child.once('error', (error) => resolve({ code: null, signal: error.message }));
            child.once('exit', (code, signal) => resolve({ code, signal }));
        });
        void this.ended.then((end) => this.#onEnd(end));
    }

    #onEnd({ code, signal }) {
        this.child = null;
        this.isStopped = false;
        this.cluster.disturbed(this);
        const excuse = this.#excuse(code, signal);
        if (excuse === null && !this.cluster.isOver)
            this.cluster.book.fault('C13', `${this.id} ended by itself: ${signal ?? code}; ` +
                this.tail());
        else this.cluster.book.count(excuse ?? 'ends');
        if (!this.isHeld && !this.cluster.isOver)
            setTimeout(() => !this.isHeld && !this.cluster.isOver && this.start(), RESPAWN_MS);
    }

    #excuse(code, signal) {
        if (this.killedBy === 'SIGKILL' && signal === 'SIGKILL') return 'ends by SIGKILL';
        if (this.killedBy === 'SIGTERM' && code === 0) return 'ends by SIGTERM';
        if (performance.now() < this.excusedUntil && [1, 2].includes(code))
            return 'ends by a bad disk';
        return null;
    }

    tail() {
        return readFileSync(this.logPath, 'utf8').trim().split('\n').slice(-3).join(' | ');
    }

    kill() {
        if (this.child === null) return;
        this.killedBy = 'SIGKILL';
        this.child.kill('SIGKILL');
    }

    /** Kill it; it stays down until start(). */
    async killAndHold() {
        this.isHeld = true;
        this.kill();
        await this.ended;
    }

    /** SIGTERM, and wait. It stays down until start(). Returns the ms it took. */
    async terminate() {
        const begun = performance.now();
        this.isHeld = true;
        if (this.child === null) return 0;
        this.killedBy = 'SIGTERM';
        this.child.kill('SIGTERM');
        const patience = setTimeout(() => {
            this.cluster.book.fault('C13', `${this.id} does not end at SIGTERM: ${this.tail()}`);
            this.kill();
        }, TERM_MS);
        await this.ended;
        clearTimeout(patience);
        return performance.now() - begun;
    }

    stop() {
        if (this.child === null) return;
        this.isStopped = true;
        this.child.kill('SIGSTOP');
    }

    resume() {
        if (this.child === null || !this.isStopped) return;
        this.isStopped = false;
        this.child.kill('SIGCONT');
        this.cluster.disturbed(this);
    }

    /** Its disk is bad for so long: it may end, by itself or at its next start. */
    excuse(ms) {
        this.excusedUntil = performance.now() + ms + DISK_EXCUSE_MS;
    }
}

export class Cluster {
    /**
     * @param {object} options folder, book, hasNetwork, hasOwnDisks, syncMs (what a sync
     *     takes at least), graceMs (how long a router may be silent), nodeFlags, routerFlags; and,
     *     for start(), routersAtFirst, gatewaysAtFirst.
     */
    constructor(options) {
        Object.assign(this, options);
        this.network = this.hasNetwork ? new Network() : null;
        this.shim = compileShim(this.folder);
        this.nodes = new Map();
        this.disturbances = new Map(); // Gateway id to the time until which it is excused.
        this.isOver = false;
        this.routersMade = 0;
        this.secret_ = randomBytes(32);
        this.auth = join(this.folder, 'auth.zpl');
        this.key = join(this.folder, 'cluster.key');
    }

    static async start(options) {
        const cluster = new Cluster(options);
        const auth = [
            'auth',
            '    key',
            '        id = "dev"',
            '        algorithm = "HS256"',
            `        secret = "${cluster.secret_.toString('base64url')}"`,
            '',
        ];
        writeFileSync(cluster.auth, auth.join('\n'), { mode: 0o600 });
        const keygen = await run(['keygen', cluster.key]);
        if (keygen.code !== 0) throw new Error(`keygen: ${keygen.stderr}`);
        for (let i = 1; i <= options.routersAtFirst; i++) {
            await cluster.addRouter();
            // The founder first: who joins nobody may not be joined yet either.
            if (i === 1) await cluster.until('r1 answers', () => cluster.status());
        }
        for (let i = 1; i <= options.gatewaysAtFirst; i++) await cluster.#add(`g${i}`, 'gateway');
        await cluster.until('every gateway is up', () => cluster.isHealthy(), READY_MS);
        const missing = await cluster.missing(READY_MS);
        if (missing !== null) throw new Error(`not whole within ${READY_MS} ms: ${missing}`);
        return cluster;
    }

    async until(what, isTrue, timeoutMs = 20000) {
        try {
            return await until(what, isTrue, timeoutMs);
        } catch (error) {
            const tails = [...this.nodes.values()].map((node) => `${node.id}: ${node.tail()}`);
            throw new Error(`${error.message}\n${tails.join('\n')}`);
        }
    }

    async #add(id, role) {
        const node = new Node(this, id, role);
        if (this.network !== null) {
            node.address = this.network.add(id);
            node.port = role === 'router' ? MESH_PORT : HTTP_PORT;
        } else {
            node.address = '127.0.0.1';
            node.port = await freePorts(3);
        }
        if (role === 'router') {
            const { hasOwnDisks: isOwn, shim, folder } = this;
            node.disk = new Disk(folder, id, { isOwn: isOwn && this.hasNetwork, shim });
            node.disk.slow(this.syncMs);
        }
        this.nodes.set(id, node);
        node.start();
        return node;
    }

    /** A router more; with an empty disk it joins those there are. */
    addRouter() {
        this.routersMade++;
        return this.#add(`r${this.routersMade}`, 'router');
    }

    /** A router that the cluster has let go. */
    async forget(node) {
        await node.terminate();
        this.nodes.delete(node.id);
    }

    prefix(node) {
        return this.network === null ? [] : this.network.as(node.id);
    }

    get routers() {
        return [...this.nodes.values()].filter((node) => node.role === 'router');
    }

    get gatewayNodes() {
        return [...this.nodes.values()].filter((node) => node.role === 'gateway');
    }

    get names() {
        return [...this.nodes.keys()];
    }

    #joins(except) {
        return this.routers
            .filter((node) => node !== except)
            .flatMap((node) => ['--join', `tcp://${node.address}:${node.port}`]);
    }

    flags(node) {
        const common = ['--id', node.id, '--key', this.key, ...this.nodeFlags];
        if (node.role === 'router') {
            const listen = `tcp://${node.address}:${node.port}`;
            return [
                ...common,
                ...['--listen', listen, '--data', node.disk.data],
                ...['--grace', `${this.graceMs / 1000}s`],
                ...this.#joins(node), // None where it is the first: the founder.
                ...this.routerFlags,
            ];
        }
        return [
            ...common,
            ...['--bind', node.address, '--port', node.port, '--config', this.auth],
            ...['--connections-per-user', 0, '--connections-per-ip', 0],
            ...['--reconnects-per-minute', 0, '--frames-per-second', 0, '--drain-ms', 1000],
            ...this.#joins(node),
        ].map(String);
    }

    /* ---- What clients need: the interface of tests/integration's Cluster ---- */

    get gateways() {
        return this.gatewayNodes.length;
    }

    http(i) {
        const { address, port } = this.nodes.get(`g${i}`);
        return `http://${address}:${port}`;
    }

    ws(i) {
        return `${this.http(i).replace('http', 'ws')}/ws`;
    }

    async token(user) {
        return this.forge({ sub: user, exp: Math.floor(Date.now() / 1000) + 86400 });
    }

    forge(claims) {
        const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const signed = `${encode({ alg: 'HS256', typ: 'JWT', kid: 'dev' })}.${encode(claims)}`;
        return `${signed}.${createHmac('sha256', this.secret_).update(signed).digest('base64url')}`;
    }

    /** Something was done to this node: a client of it may miss an answer. */
    disturbed(node) {
        this.disturbances.set(node.id, performance.now());
    }

    /** Was this gateway, or the way to it, disturbed at any time since then? */
    wasDisturbed(i, since) {
        const node = this.nodes.get(`g${i}`);
        const isNow = !node.isUp || node.isStopped || node.isCutOff;
        return isNow || (this.disturbances.get(node.id) ?? -Infinity) >= since;
    }

    /** The clients' way to a gateway. */
    cutOff(node, isCut) {
        node.isCutOff = isCut;
        this.disturbed(node);
        this.network.cut(isCut ? [[CLIENTS, node.id], [node.id, CLIENTS]] : []);
    }

    async isHealthy() {
        const answers = this.gatewayNodes.map(async (_, i) => {
            try {
                const signal = AbortSignal.timeout(1000);
                return (await fetch(`${this.http(i + 1)}/health`, { signal })).ok;
            } catch {
                return false;
            }
        });
        return (await Promise.all(answers)).every(Boolean);
    }

    /* ---- What an operator asks ---- */

    async command(words, timeoutMs = STATUS_MS) {
        const joins = this.routers
            .filter((node) => node.isUp && !node.isStopped)
            .flatMap((node) => ['--join', `tcp://${node.address}:${node.port}`]);
        return run([...words, ...joins, '--key', this.key], { timeout: timeoutMs });
    }

    /** `chatmesh status --json`; null where nobody answers. */
    async status() {
        const { code, stdout } = await this.command(['status', '--json']);
        if (code !== 0) return null;
        try {
            return JSON.parse(stdout);
        } catch {
            this.book.fault('status', `not JSON: ${stdout.slice(0, 200)}`);
            return null;
        }
    }

    /** Wait until every group is led and has all its copies; what is missing where it is not. */
    async missing(timeoutMs) {
        const deadline = performance.now() + timeoutMs;
        for (;;) {
            const missing = whatIsMissing(await this.status(), this.routers.length);
            if (missing === null || performance.now() >= deadline) return missing;
            await sleep(300);
        }
    }

    /* ---- The end ---- */

    /** C13: what the logs say. */
    scanLogs() {
        for (const node of readdirSync(this.folder).filter((name) => name.endsWith('.log')))
            for (const line of readFileSync(join(this.folder, node), 'utf8').split('\n'))
                if (BAD_LINE.test(line)) this.book.fault('C13', `${node}: ${line}`);
    }

    async stop() {
        const up = [...this.nodes.values()].filter((node) => node.isUp);
        for (const node of up) node.resume();
        // Gateways first: they need routers to say goodbye properly.
        await Promise.all(up.filter((n) => n.role === 'gateway').map((n) => n.terminate()));
        await Promise.all(up.filter((n) => n.role === 'router').map((n) => n.terminate()));
        this.isOver = true;
    }

    /** At once, without a goodbye. */
    destroy() {
        this.isOver = true;
        for (const node of this.nodes.values()) node.kill();
    }

    /** Keep what lies on disks that go away with the sandbox. */
    save() {
        const data = join(this.folder, 'data');
        mkdirSync(data, { recursive: true });
        for (const node of this.routers) if (node.disk) node.disk.save(join(data, node.id));
        writeFileSync(join(this.folder, 'keep'), '');
        cpSync(BINARY, join(this.folder, 'chatmesh'));
    }
}

export { sleep, until };
